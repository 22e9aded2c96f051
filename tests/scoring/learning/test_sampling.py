"""Reservoirs are uniform, bounded, and the same for the same seed however the stream is cut."""

import numpy as np

from scoring.learning.sampling import Reservoir
from scoring.learning.snapshot import RowHeaders


def headers(seqs) -> RowHeaders:
    return RowHeaders.of([(int(seq), int(seq) * 10, 0, 100, "EUR") for seq in seqs])


def sample(seqs, size: int, seed: int, chunk: int) -> list[int]:
    reservoir = Reservoir(size, seed)
    for start in range(0, len(seqs), chunk):
        reservoir.add(headers(seqs[start : start + chunk]))
    return reservoir.rows().seq.tolist()


def test_the_sample_does_not_depend_on_chunks_or_order():
    seqs = np.arange(1, 1000)
    expected = sample(seqs, 50, seed=3, chunk=1000)
    assert sample(seqs, 50, seed=3, chunk=7) == expected
    assert sample(seqs[::-1], 50, seed=3, chunk=13) == expected
    assert expected == sorted(expected)
    assert len(set(expected)) == 50


def test_another_seed_gives_another_sample():
    seqs = np.arange(1, 1000)
    assert sample(seqs, 50, seed=3, chunk=100) != sample(seqs, 50, seed=4, chunk=100)


def test_fewer_rows_than_places_are_all_kept():
    assert sample(np.arange(5, 9), 50, seed=0, chunk=2) == [5, 6, 7, 8]
    assert sample(np.arange(0), 50, seed=0, chunk=2) == []


def test_each_row_is_equally_likely():
    counts = np.zeros(100)
    for seed in range(2000):
        counts[np.array(sample(np.arange(100), 10, seed=seed, chunk=100))] += 1
    # Binomial(2000, 0.1) has a standard deviation of 13.4.
    assert counts.min() > 200 - 5 * 13.4
    assert counts.max() < 200 + 5 * 13.4


def test_weight_says_how_many_rows_one_stands_for():
    reservoir = Reservoir(10, seed=0)
    reservoir.add(headers(range(5)))
    assert reservoir.weight == 1.0
    reservoir.add(headers(range(5, 40)))
    assert reservoir.weight == 4.0
