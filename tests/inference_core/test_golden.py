"""Golden rows: they reach what could go wrong, survive being stored, and one wrong bit refuses a build."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.errors import ArtifactRefused, ProgramError
from inference_core.golden import GOLDEN_ROWS, GoldenRows, check_golden, golden_rows
from inference_core.runtime import Ladder, LadderConfig, cpu, cpu_device, default_executor, make_ready
from kernels.score_rows import ScoredRows
from kernels.tables import RuleBits
from tests.inference_core.runtime.tables import assert_same, tables
from tests.strategies import examples

TABLES = tables(4, trees=6)  # all five features have cuts


def ready(of=TABLES, golden: GoldenRows | None = None) -> Ladder:
    ladder = default_executor(of)
    golden = golden or golden_rows(of, 3)
    make_ready(ladder, (), golden.x, golden.memberships, golden.top, 16)
    return ladder


# --- which rows ----------------------------------------------------------------------------------------------------------


def test_rows_lie_on_the_cuts_beside_them_and_beyond():
    golden = golden_rows(TABLES, 3)
    assert len(golden.x) == GOLDEN_ROWS and golden.x.dtype == np.float32
    for feature in range(TABLES.cuts.features):
        (column,) = np.flatnonzero(TABLES.cuts.source == feature)
        cuts = TABLES.cuts.cuts[TABLES.cuts.offsets[column] : TABLES.cuts.offsets[column + 1]]
        there = set(golden.x[:, feature].tolist())
        for cut in cuts:
            beside = {float(np.nextafter(cut, np.float32(way))) for way in (-np.inf, np.inf)}
            assert {float(cut), *beside} <= there
        assert {np.inf, -np.inf} <= there and np.isnan(golden.x[:, feature]).any()


def test_rows_are_in_no_list_in_all_and_in_single_ones_and_some_miss_nothing():
    golden = golden_rows(TABLES, 3)
    counts = golden.memberships.sum(axis=1)
    assert {0, 1, 2} == set(counts.tolist()) and (golden.memberships.sum(axis=0) > 2).all()
    assert (~np.isnan(golden.x).any(axis=1)).sum() >= 8


@examples(30)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(0, 3), st.integers(0, 5), st.integers(0, 70))
def test_they_are_the_same_every_time_and_survive_json(seed, features, lists, trees, rules):
    of = tables(seed, features=features, lists=lists, trees=trees, rules=rules)
    golden = golden_rows(of, min(4, features))
    again = GoldenRows.from_json(json.loads(json.dumps(golden.to_json(), allow_nan=False)), of)
    for a in (golden_rows(of, min(4, features)), again):
        assert a.x.tobytes() == golden.x.tobytes() and a.memberships.tobytes() == golden.memberships.tobytes()
        assert_same(a.answers, golden.answers)
    check_golden(golden, ready(of, golden))


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d["x"].pop(),
        lambda d: d["x"][0].pop(),
        lambda d: d.update(x=[]),
        lambda d: d["memberships"].pop(),
        lambda d: d["answers"]["margin"].pop(),
        lambda d: d["answers"].update(hit=[[0, 0]] * GOLDEN_ROWS),
        lambda d: d["answers"]["top_features"].pop(),
        lambda d: d["answers"].update(margin=[["x"]] * GOLDEN_ROWS),
    ],
)
def test_stored_rows_that_do_not_fit_are_refused(damage):
    document = golden_rows(TABLES, 3).to_json()
    damage(document)
    with pytest.raises((ProgramError, ValueError)):
        GoldenRows.from_json(document, TABLES)


# --- the check -----------------------------------------------------------------------------------------------------------


def _changed(scored: ScoredRows, field: str, row: int) -> ScoredRows:
    arrays = {name: np.array(getattr(scored, name)) for name in ("margin", "top_features", "top_contributions")}
    arrays |= {name: np.array(getattr(scored.bits, name)) for name in ("hit", "insufficient", "error")}
    flat = arrays[field][row : row + 1].view(f"u{arrays[field].itemsize}").reshape(-1)
    flat[-1] ^= 1  # the last bit of the last value
    bits = RuleBits(arrays["hit"], arrays["insufficient"], arrays["error"])
    return ScoredRows.of(arrays["margin"], bits, arrays["top_features"], arrays["top_contributions"])


class WrongInOneBit:
    """A variant or static program that is wrong in one bit of one row, which it knows by its first value."""

    def __init__(self, run, golden: GoldenRows, field: str, row: int) -> None:
        self._run, self._field, self._row = run, field, golden.x[row].tobytes()

    def __call__(self, x, memberships, *top) -> ScoredRows:
        scored = self._run(x, memberships, *top)
        for row in range(len(x)):
            if x[row].tobytes() == self._row:
                return _changed(scored, self._field, row)
        return scored


@pytest.mark.parametrize(
    ("field", "row"), [("margin", 0), ("hit", 63), ("error", 17), ("top_features", 5), ("top_contributions", 40)]
)
@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_one_wrong_bit_of_any_variant_refuses_the_build_and_is_named(field, row, kind):
    golden = golden_rows(TABLES, 3)
    device = cpu_device()

    class Wrong(cpu.BlockedRows if kind == "dynamic" else cpu.PreparedRows):
        def __init__(self) -> None:
            super().__init__(TABLES, device)
            if kind == "dynamic":
                self.run = WrongInOneBit(super().run, golden, field, row)

        def prepare(self, shape):
            program = super().prepare(shape)
            program.run = WrongInOneBit(program.run, golden, field, row)
            return program

    right = [cpu.BlockedRows(TABLES, device)]
    ladder = (
        Ladder(TABLES, [], [*cpu.variants(TABLES, device)[1], Wrong()])
        if kind == "dynamic"
        else Ladder(TABLES, [Wrong()], right)
    )
    ladder.warm(8, tops=(3,))
    with pytest.raises(ArtifactRefused, match=rf"golden\.json: cpu:0 .* row {row}, {field}.* instead of"):
        check_golden(golden, ladder)


def test_every_size_of_static_program_is_tried():
    golden = golden_rows(TABLES, 3)
    seen: list[int] = []

    class Recording(cpu.PreparedRows):
        def prepare(self, shape):
            program = super().prepare(shape)
            inner = program.run
            program.run = lambda x, memberships: (seen.append(len(x)), inner(x, memberships))[1]
            return program

    ladder = Ladder(TABLES, [Recording(TABLES, cpu_device())], [cpu.BlockedRows(TABLES, cpu_device())], LadderConfig(largest=8))
    ladder.warm(8, tops=(3,), lists=(True,))
    seen.clear()
    check_golden(golden, ladder)
    assert {1, 2, 3, 4, 5, 7, 8} <= set(seen) and seen.count(1) >= GOLDEN_ROWS


def test_a_nan_is_a_nan_whatever_its_bits():
    rules_alone = tables(3, trees=0)
    golden = golden_rows(rules_alone, 2)
    other = np.full(GOLDEN_ROWS, np.uint32(0xFFC00001)).view(np.float32)
    bits = golden.answers.bits
    answers = ScoredRows.of(other, bits, golden.answers.top_features, golden.answers.top_contributions)
    check_golden(dataclasses.replace(golden, answers=answers), ready(rules_alone))
