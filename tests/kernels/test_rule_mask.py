"""Rules on bins, and the same rules as clauses on numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.bin_features import reference as bin_reference
from kernels.clauses import MAX_CLAUSES, clauses_of
from kernels.errors import KernelInputError
from kernels.rule_mask import rule_mask
from kernels.score_rows import ScoreTables, score_rows
from kernels.tables import INSTRUCTION, MISSING, CutTable, RuleTable
from tests.kernels.random_tables import Shape, random_tables, rows_near
from tests.kernels.variants import each_instruction_set, instruction_set
from tests.strategies import examples

SET, AND, OR = 0, 1, 2
PREDICATE, REGISTER, TRUE = 0, 1, 2


def rules(steps: list[tuple], registers: int, hit: list[int], columns: int) -> RuleTable:
    never = [-1] * len(hit)
    return RuleTable(np.array([(*step[:5], 0, *step[5:]) for step in steps], INSTRUCTION), registers, hit, never, never, columns)


@each_instruction_set
@examples(60)
@given(low=st.integers(0, 255), width=st.integers(0, 255), negate=st.booleans())
def test_a_predicate_is_an_interval_of_bins(instructions, low, width, negate):
    bins = np.arange(256, dtype=np.uint8)[None]
    table = rules([(SET, PREDICATE, negate, low, width, 0, 0)], 1, [0], 1)
    with instruction_set(instructions):
        hit = rule_mask(table, bins).hit[:, 0]
    assert hit.tolist() == [(((value - low) % 256 < width) != negate) for value in range(256)]


@pytest.mark.parametrize("count", [1, 63, 64, 65, 129])
def test_rules_fill_words_of_64(count):
    steps = [(SET, PREDICATE, False, r % 5, 1, 0, r) for r in range(count)]
    bins = np.tile(np.arange(5, dtype=np.uint8), 40)[None]
    hit = rule_mask(rules(steps, count, list(range(count)), 1), bins).hit
    assert hit.shape == (200, (count + 63) // 64)
    for rule in range(count):
        told = hit[:, rule // 64] >> np.uint64(rule % 64) & np.uint64(1)
        np.testing.assert_array_equal(told, bins[0] == rule % 5)


def test_a_register_that_nobody_wrote_is_false_and_outputs_that_no_rule_has_are_zero():
    bits = rule_mask(rules([(SET, REGISTER, False, 0, 0, 1, 0)], 2, [0], 1), np.zeros((1, 9), np.uint8))
    assert not bits.hit.any() and not bits.insufficient.any() and not bits.error.any()


@pytest.mark.parametrize(
    ("steps", "registers", "hit", "says"),
    [
        ([(AND, TRUE, False, 0, 0, 0, 0)], 1, [0], "begins with SET"),
        ([(SET, PREDICATE, False, 0, 1, 1, 0)], 1, [0], "bin column"),
        ([(SET, REGISTER, False, 0, 1, 1, 0)], 1, [0], "register"),
        ([(SET, TRUE, False, 0, 1, 0, 1)], 1, [0], "register"),
        ([(SET, TRUE, False, 0, 1, 0, 0)], 1, [1], "register"),
    ],
)
def test_programs_that_cannot_run_are_refused(steps, registers, hit, says):
    with pytest.raises(KernelInputError, match=says):
        rules(steps, registers, hit, 1)


def test_bins_that_do_not_fit_are_refused():
    table = rules([(SET, PREDICATE, False, 0, 1, 1, 0)], 1, [0], 2)
    for bins in (np.zeros((1, 3), np.uint8), np.zeros((2, 3), np.int8), np.zeros((3, 2), np.uint8).T, np.zeros(2, np.uint8)):
        with pytest.raises(KernelInputError, match="bins must be C-contiguous uint8"):
            rule_mask(table, bins)


# --- clauses ------------------------------------------------------------------------------------------------------------


@each_instruction_set
@examples(60)
@given(st.integers(0, 10_000), st.sampled_from([13, 64, 65, 128, 200]), st.booleans())
def test_rules_alone_are_the_same_on_numbers_and_on_bins(instructions, seed, rows, by_column):
    tables = random_tables(Shape(features=4, cuts=12, trees=0, rules=70, seed=seed))
    x, lists = rows_near(tables.cuts, rows, seed)
    bins = bin_reference.bin_features(tables.cuts, x, lists)
    with instruction_set(instructions):
        alone = score_rows(tables, np.asfortranarray(x) if by_column else x, lists).bits
        truth = rule_mask(tables.rules, bins)
    for name in ("hit", "insufficient", "error"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(truth, name))


def holds(tables: ScoreTables, x: np.ndarray, lists: np.ndarray) -> np.ndarray:
    """Return [B, R] hits as the clauses tell them, in plain NumPy."""
    found = clauses_of(tables.cuts, tables.rules)
    columns = np.concatenate([bin_reference.derive(tables.cuts, x), lists.astype(np.float32)], axis=1)
    hits = np.zeros((len(x), tables.rules.rules), bool)
    for clause in found.clauses[: found.runs[0].sum()]:
        last = clause["first"] + clause["less"] + clause["at_least"] + clause["other"]
        tests = [_test(columns[:, of["column"]], of["cut"], of["kind"]) for of in found.literals[clause["first"] : last]]
        hits[:, clause["rule"]] |= np.logical_and.reduce([np.ones(len(x), bool), *tests])
    return hits


def _test(column: np.ndarray, cut: np.float32, kind: int) -> np.ndarray:
    return [column < cut, column >= cut, ~(column < cut), ~(column >= cut), np.isnan(column), ~np.isnan(column)][kind]


@examples(40)
@given(st.integers(0, 10_000))
def test_clauses_say_what_the_program_says(seed):
    tables = random_tables(Shape(features=4, cuts=12, trees=0, rules=20, seed=seed))
    x, lists = rows_near(tables.cuts, 150, seed)
    hit = rule_mask(tables.rules, bin_reference.bin_features(tables.cuts, x, lists)).hit[:, 0]
    expected = (hit[:, None] >> np.arange(20, dtype=np.uint64) & np.uint64(1)).astype(bool)
    np.testing.assert_array_equal(holds(tables, x, lists), expected)


def test_rules_with_too_many_clauses_keep_to_bins():
    """An and of ors multiplies out."""
    cuts = CutTable(np.zeros(12, np.float32), np.arange(13), np.arange(12), 12)
    steps = []
    for pair in range(6):
        steps += [(SET, PREDICATE, False, 1, 1, 2 * pair, -1), (OR, PREDICATE, False, 1, 1, 2 * pair + 1, pair)]
    steps += [(SET, REGISTER, False, 0, 0, 0, -1), *((AND, REGISTER, False, 0, 0, pair, -1) for pair in range(1, 6))]
    steps[-1] = (*steps[-1][:6], 6)
    table = rules(steps, 7, [6], 12)
    assert 2**6 > MAX_CLAUSES and clauses_of(cuts, table) is None
    x = np.random.default_rng(0).normal(size=(500, 12)).astype(np.float32)
    hit = score_rows(ScoreTables(cuts, table, None), x).bits.hit[:, 0]
    np.testing.assert_array_equal(hit, (x >= 0).reshape(500, 6, 2).any(axis=2).all(axis=1))


def test_missing_values_in_clauses():
    cuts = CutTable(np.array([-np.inf, 0, np.inf], np.float32), np.array([0, 3]), np.array([0]), 1)
    x = np.array([np.nan, -np.inf, -1, -0.0, 0, 1e-45, 1, np.inf] * 3, np.float32)[:, None]
    steps = [
        (SET, PREDICATE, False, MISSING, 1, 0, 0),
        (SET, PREDICATE, True, MISSING, 1, 0, 1),
        (SET, PREDICATE, True, 0, 2, 0, 2),
        (SET, PREDICATE, False, 1, 3, 0, 3),
        (SET, PREDICATE, False, 3, 253, 0, 4),
    ]
    hit = score_rows(ScoreTables(cuts, rules(steps, 5, [0, 1, 2, 3, 4], 1), None), x).bits.hit[:8, 0]
    value = x[:8, 0]
    missing = np.isnan(value)
    expected = [missing, ~missing, missing | (value >= 0), ~missing, missing | (value == np.inf)]
    for rule, truth in enumerate(expected):
        np.testing.assert_array_equal(hit >> np.uint64(rule) & np.uint64(1), truth, err_msg=str(rule))
