"""The index by customer, card and merchant that follows the ledger."""

from __future__ import annotations

import random

import numpy as np
import pytest

import scoring.entity_index as entity_index
from scoring.entity_index import FIELDS, catch_up, find_decisions
from scoring.entity_segments import bucket_of, find_in_segment, hash_of, pack_segments
from scoring.models import Decision, EntityIndexMark, EntitySegment
from tests.factories import build_decision, make_decision

pytestmark = [pytest.mark.any_database, pytest.mark.django_db]
NOBODY = {"customer_id": None, "card_id": None, "merchant_id": None, "account_id": "acc-1"}


@pytest.fixture(params=[1, 3])
def chunks_of(request, monkeypatch) -> int:
    """How many decisions share a segment, read two at a time."""
    monkeypatch.setattr(entity_index, "_CHUNK_ROWS", request.param)
    monkeypatch.setattr(entity_index, "_SLICE_ROWS", 2)
    return request.param


def indexed(**entity: str) -> list[int]:
    """Return what the segments alone say of one entity."""
    ((field, name),) = entity.items()
    rows = EntitySegment.objects.filter(kind=FIELDS[field], bucket=bucket_of(name))
    return sorted(seq for row in rows for seq in find_in_segment(bytes(row.entries), row.first_seq, hash_of(name)).tolist())


def found(**conditions) -> list[int]:
    return sorted(find_decisions(conditions).values_list("seq", flat=True))


def make_at(seq: int, **fields) -> Decision:
    decision = build_decision(**fields)
    decision.seq = seq
    decision.save(force_insert=True)
    return decision


def test_each_party_of_a_decision_gets_an_entry(monkeypatch):
    monkeypatch.setattr(entity_index, "_CHUNK_ROWS", 2)
    one = make_decision(customer_id="c", card_id="k", merchant_id="m")
    two = make_decision(customer_id="c", card_id=None, merchant_id=None)
    assert catch_up() == 2
    assert indexed(customer_id="c") == [one.seq, two.seq]
    assert indexed(card_id="k") == indexed(merchant_id="m") == [one.seq]
    assert catch_up() == 0 and EntitySegment.objects.count() == 3


def test_whole_chunks_alone_are_indexed_and_a_reader_sees_the_rest_as_well(chunks_of):
    rows = [make_decision(card_id=f"k{i % 2}") for i in range(8)]
    whole = 8 // chunks_of * chunks_of
    assert found(card_id="k0") == [row.seq for row in rows[::2]], "before anything is indexed"
    assert catch_up() == whole and catch_up() == 0
    assert indexed(card_id="k0") == [row.seq for row in rows[:whole:2]]
    assert found(card_id="k0") == [row.seq for row in rows[::2]]
    later = make_decision(card_id="k0")
    assert found(card_id="k0")[-1] == later.seq


def test_a_reader_writes_nothing(django_assert_num_queries, chunks_of):
    make_decision(card_id="k")
    assert len(found(card_id="k")) == 1
    assert not EntitySegment.objects.exists() and not EntityIndexMark.objects.exists()


def test_numbers_that_are_missing_do_not_hold_it_up(chunks_of):
    """Sequences leave gaps, after a failed batch for one."""
    base = max([0, *Decision.objects.values_list("seq", flat=True)])
    places = [base + 10**6, base + 10**9, base + 10**9 + 2**32 - 1, base + 10**11, base + 10**11 + 7, base + 10**12]
    for i, seq in enumerate(places):
        make_at(seq, card_id="even" if i % 2 == 0 else "odd")
    assert catch_up() == 6 and catch_up() == 0
    assert indexed(card_id="even") == found(card_id="even") == places[::2]
    assert indexed(card_id="odd") == found(card_id="odd") == places[1::2]


def test_decisions_that_name_nobody_are_looked_at_once(chunks_of):
    for _ in range(9):
        make_decision(**NOBODY)
    assert catch_up() == 9
    assert catch_up() == 0 and not EntitySegment.objects.exists()
    named = [make_decision(card_id="k") for _ in range(3)]
    assert catch_up() == 3 and indexed(card_id="k") == [row.seq for row in named]


def test_looking_whether_there_is_work_costs_the_same_however_large_the_index_is(django_assert_num_queries, monkeypatch):
    # Earlier tests were rolled back and left gaps, which stay open as long as this test's own transaction does.
    monkeypatch.setattr(entity_index, "_fill_gaps", lambda: 0)
    monkeypatch.setattr(entity_index, "_CHUNK_ROWS", 5)
    for _ in range(7):
        make_decision()
    catch_up()
    with django_assert_num_queries(2):
        catch_up()


def test_conditions_are_combined(chunks_of):
    one = make_decision(customer_id="c", card_id="k1", score=10)
    make_decision(customer_id="c", card_id="k2", score=10)
    three = make_decision(customer_id="d", card_id="k1", score=900)
    for _ in range(2):
        assert found(customer_id="c", card_id="k1") == [one.seq]
        assert found(card_id="k1", score__gte=500) == [three.seq]
        assert found(customer_id="nobody") == [] and len(found()) == 3 == Decision.objects.count()
        assert found(customer_id="") == []
        catch_up()


def test_two_of_one_hash_are_told_apart(monkeypatch, chunks_of):
    monkeypatch.setattr("scoring.entity_segments.zlib.crc32", lambda name: 7)
    rows = [make_decision(card_id=f"k{i % 3}", customer_id=f"c{i % 2}") for i in range(6)]
    assert catch_up() == 6
    assert found(card_id="k1") == [rows[1].seq, rows[4].seq]
    assert found(card_id="k1", customer_id="c0") == [rows[4].seq]


def test_who_comes_second_does_nothing(monkeypatch, chunks_of):
    rows = [make_decision(card_id="k") for _ in range(3)]
    real = entity_index._gaps_in

    def another_process_first(mark, seqs):
        monkeypatch.setattr(entity_index, "_gaps_in", real)
        assert catch_up() == 3
        return real(mark, seqs)

    monkeypatch.setattr(entity_index, "_gaps_in", another_process_first)
    assert catch_up() == 0
    assert indexed(card_id="k") == [row.seq for row in rows]


def test_while_decisions_are_made_it_pauses_and_leaves_some_for_the_next_time(monkeypatch):
    monkeypatch.setattr(entity_index, "_CHUNK_ROWS", 1)
    monkeypatch.setattr(entity_index, "_BUSY_CHUNKS", 2)
    pauses = []
    monkeypatch.setattr(entity_index.time, "sleep", pauses.append)
    for _ in range(5):
        make_decision(card_id="k")
    assert [catch_up(0.5), catch_up(0.5), catch_up(0.5), catch_up(0.5)] == [2, 2, 1, 0]
    assert len(pauses) >= 5 and min(pauses) > 0.0
    pauses.clear()
    make_decision(card_id="k")
    assert catch_up() == 1 and not pauses


def test_segments_give_back_what_was_packed():
    rng = random.Random(5)
    names = [rng.choice(["", f"e{rng.randrange(40)}"]) for _ in range(500)]
    seqs = np.cumsum(np.array([rng.randrange(1, 9) for _ in names], np.int64)) + 2**33
    segments = dict(pack_segments(names, seqs))
    for name in {*names, "absent"} - {""}:
        wanted = [seq for seq, named in zip(seqs.tolist(), names, strict=True) if named == name]
        entries = segments.get(bucket_of(name), b"")
        assert find_in_segment(entries, int(seqs[0]), hash_of(name)).tolist() == wanted


def test_nothing_to_pack():
    assert list(pack_segments(["", ""], np.array([3, 4]))) == []
