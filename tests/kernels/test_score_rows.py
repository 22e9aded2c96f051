"""The fused pass is the four operations one after the other, bit for bit, on every instruction set and any shape."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.bin_features import bin_features
from kernels.bin_features import reference as bin_reference
from kernels.errors import KernelInputError
from kernels.forest_margin import forest_margin
from kernels.net_margin import net_totals
from kernels.path_contributions import path_contributions
from kernels.path_contributions import reference as path_reference
from kernels.rule_mask import reference as rule_reference
from kernels.rule_mask import rule_mask
from kernels.score_rows import ScoredRows, ScoreTables, reference, score_part, score_rows
from kernels.tables import INSTRUCTION, MAX_TREE_COLUMNS, CutTable, RuleTable, TreeTable
from tests.kernels.random_tables import Shape, random_tables, rows_near
from tests.kernels.variants import each_instruction_set, instruction_set
from tests.strategies import examples

shapes = st.builds(
    Shape,
    features=st.sampled_from([1, 3, 5, 20, 70, 300]),
    cuts=st.sampled_from([0, 1, 5, 40, 254, 255, 600]),
    trees=st.sampled_from([0, 1, 7, 65, 140]),
    depth=st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 10, 16]),
    rules=st.sampled_from([0, 1, 5, 64, 70]),
    lists=st.sampled_from([0, 2]),
    derived=st.sampled_from([0, 3]),
    net=st.booleans(),
    seed=st.integers(0, 10_000),
)
sizes = st.sampled_from([0, 1, 2, 7, 12, 13, 17, 63, 64, 65, 127, 128, 129, 300])


def same(ours: np.ndarray, truth: np.ndarray) -> None:
    assert (ours.dtype, ours.shape) == (truth.dtype, truth.shape)
    assert ours.tobytes() == truth.tobytes(), np.argwhere(ours != truth)[:5]


def arrays(scored: ScoredRows) -> list[np.ndarray]:
    bits = scored.bits
    return [scored.margin, bits.hit, bits.insufficient, bits.error, scored.top_features, scored.top_contributions]


@each_instruction_set
@examples(60)
@given(shape=shapes, rows=sizes, by_column=st.booleans(), data=st.data())
def test_every_kernel_gives_the_bits_of_its_reference(instructions, shape, rows, by_column, data):
    tables = random_tables(shape)
    x, lists = rows_near(tables.cuts, rows, shape.seed)
    x = np.asfortranarray(x) if by_column else x
    top = data.draw(st.integers(0, min(5, shape.features)))
    bins = bin_reference.bin_features(tables.cuts, x, lists)
    with instruction_set(instructions):
        same(bin_features(tables.cuts, x, lists), bins)
        for ours, truth in zip(arrays(score_rows(tables, x, lists, top)), arrays(reference.score_rows(tables, x, lists, top)), strict=True):  # fmt: skip  # noqa: E501
            same(ours, truth)
        bits, truth = rule_mask(tables.rules, bins), rule_reference.rule_mask(tables.rules, bins)
        for name in ("hit", "insufficient", "error"):
            same(getattr(bits, name), getattr(truth, name))
        if tables.trees is not None:
            margin, contributions = path_reference.path_contributions(tables.trees, bins)  # without the net
            same(forest_margin(tables.trees, bins), margin)
            for ours, truth in zip(path_contributions(tables.trees, bins), (margin, contributions), strict=True):
                same(ours, truth)


@each_instruction_set
def test_a_row_has_the_same_answer_in_a_batch_of_any_size(instructions):
    tables = random_tables(Shape(features=30, cuts=200, trees=100, depth=6, rules=20, seed=4))
    x, lists = rows_near(tables.cuts, 300, 1)
    with instruction_set(instructions):
        whole = arrays(score_rows(tables, x, lists, 4))
        for size in (1, 5, 16, 64, 200):
            for start in (0, 77, 100):
                part = arrays(score_rows(tables, x[start : start + size], lists[start : start + size], 4))
                for ours, truth in zip(part, whole, strict=True):
                    same(ours, truth[start : start + size])


def test_contributions_add_up_to_the_margin():
    tables = random_tables(Shape(features=8, cuts=50, trees=90, depth=6, rules=0, seed=2))
    x, lists = rows_near(tables.cuts, 500, 3)
    scored = score_rows(tables, x, lists, 8)
    total = tables.trees.bias + scored.top_contributions.sum(axis=1, dtype=np.float64)
    np.testing.assert_allclose(total, scored.margin, atol=1e-4)
    assert (np.sort(scored.top_features, axis=1) == np.arange(8)).all(), "all eight features, once each"
    assert (np.diff(scored.top_contributions, axis=1) <= 0).all()


def test_the_net_adds_one_contribution_behind_those_of_the_features():
    tables = random_tables(Shape(features=8, cuts=50, trees=90, depth=6, rules=3, net=True, seed=2))
    x, lists = rows_near(tables.cuts, 200, 3)
    with_net, without = score_rows(tables, x, lists, 8), score_rows(replace(tables, net=None), x, lists, 8)
    same(with_net.bits.hit, without.bits.hit)
    terms = tables.net.terms(net_totals(tables.net, bin_features(tables.cuts, x, lists)))
    unit = 2.0**-tables.trees.scale
    np.testing.assert_allclose(with_net.margin, without.margin + terms * unit, rtol=1e-5)
    place = with_net.top_features == 8
    assert place.any(axis=1).mean() > 0.8 and not (without.top_features == 8).any()
    rows = place.any(axis=1)
    expected = (terms - tables.net.centre_term) * unit
    np.testing.assert_allclose(with_net.top_contributions[place], expected[rows], rtol=1e-6)
    assert (np.diff(with_net.top_contributions, axis=1) <= 0).all()


def test_answers_do_not_change_when_the_next_batch_is_scored():
    tables = random_tables(Shape(seed=1))
    x, lists = rows_near(tables.cuts, 10, 1)
    first = score_rows(tables, x[:1], lists[:1], 2)
    kept = [array.copy() for array in arrays(first)]
    for i in range(1, 10):
        score_rows(tables, x[i : i + 1], lists[i : i + 1], 2)
    for array, before in zip(arrays(first), kept, strict=True):
        same(array, before)


def test_threads_share_tables_but_no_buffer():
    tables = random_tables(Shape(features=20, trees=60, depth=6, cuts=100, seed=3))
    x, lists = rows_near(tables.cuts, 64, 1)
    truth = [[a.tobytes() for a in arrays(score_rows(tables, x[i : i + 1], lists[i : i + 1], 3))] for i in range(64)]
    wrong = []

    def work(offset: int) -> None:
        for turn in range(1_500):
            i = (turn * 7 + offset) % 64
            if [a.tobytes() for a in arrays(score_rows(tables, x[i : i + 1], lists[i : i + 1], 3))] != truth[i]:
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(n * 11,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("trees", [0, 30])
def test_several_calls_fill_one_batch(trees):
    tables = random_tables(Shape(trees=trees, rules=70, seed=3))
    x, lists = rows_near(tables.cuts, 300, 2)
    whole, parts = score_rows(tables, x, lists, 3), ScoredRows.empty(tables, 300, 3)
    for first, end in ((130, 300), (0, 7), (7, 130)):
        score_part(tables, x[first:end], lists[first:end], parts, first)
    for ours, truth in zip(arrays(parts), arrays(whole), strict=True):
        same(ours, truth)


@pytest.mark.parametrize("rows", [2, 40])
def test_views_are_read_where_they_lie(rows):
    tables = random_tables(Shape(features=4, derived=0, seed=6))
    wide = np.random.default_rng(0).normal(size=(2 * rows, 9)).astype(np.float32)
    for view in (wide[:rows, 2:6], wide[::2, :4], wide[::-1][:rows, 1:5], wide[:rows, ::2][:, :4], np.broadcast_to(wide[0, :4], (rows, 4))):  # fmt: skip  # noqa: E501
        for ours, truth in zip(arrays(score_rows(tables, view)), arrays(score_rows(tables, view.copy())), strict=True):
            same(ours, truth)


@pytest.mark.parametrize(
    ("x", "lists", "top", "says"),
    [
        (np.zeros((2, 5)), None, 0, "x must be float32"),
        (np.zeros((2, 4), np.float32), None, 0, r"x must be float32 \[B, 5\]"),
        (np.zeros(5, np.float32), None, 0, "x must be float32"),
        (np.zeros((2, 5), np.float32), np.zeros((2, 1), bool), 0, "memberships must be bool"),
        (np.zeros((2, 5), np.float32), np.zeros((1, 2), bool), 0, "memberships must be bool"),
        (np.zeros((2, 5), np.float32), np.zeros((2, 2), np.uint8), 0, "memberships must be bool"),
        (np.zeros((2, 5), np.float32), None, 6, "top must be from 0 to 5"),
        (np.zeros((2, 5), np.float32), None, -1, "top must be from 0 to 5"),
    ],
)
def test_what_does_not_fit_is_refused(x, lists, top, says):
    tables = random_tables(Shape())
    score_rows(tables, np.zeros((2, 5), np.float32))  # a shape that was fine before does not open the door
    with pytest.raises(KernelInputError, match=says):
        score_rows(tables, x, lists, top)


def test_tables_that_do_not_belong_together_are_refused():
    tables, narrow = random_tables(Shape()), random_tables(Shape(features=3, derived=0, lists=0, cuts=1))
    with pytest.raises(KernelInputError, match="bin column that the cuts do not make"):
        ScoreTables(narrow.cuts, tables.rules, None)
    with pytest.raises(KernelInputError, match="width of x|bin column"):
        ScoreTables(narrow.cuts, narrow.rules, tables.trees)


@pytest.mark.parametrize(
    ("cuts", "offsets", "says"),
    [
        ([1, 1], [0, 2], "ascending"),
        ([2, 1], [0, 2], "ascending"),
        ([np.nan], [0, 1], "ascending"),
        (np.arange(255), [0, 255], "at most 254"),
        ([1], [0, 2], "offsets"),
    ],
)
def test_cuts_that_are_no_cuts_are_refused(cuts, offsets, says):
    with pytest.raises(KernelInputError, match=says):
        CutTable(np.array(cuts, np.float32), np.array(offsets), np.array([0]), 1)


def leaves(**changes) -> TreeTable:
    """A root with two leaves, or what the changes make of it."""
    of = {"column": [0, -1, -1], "shift": [0] * 3, "rank": [1, 0, 0], "left": [1, 1, 2], "value": [0, -1, 1],
          "feature": [0, -1, -1], "roots": [0], "depth": [1], "scale": 3, "base": 0.0, "features": 1, "columns": 1}  # fmt: skip
    return TreeTable(**of | changes)


def test_values_whose_differences_do_not_fit_are_refused():
    for value in ([0, -(2**31), 2**31 - 1], [-1, 0, 2**31 - 2], [0, 0, 0]):
        assert leaves(value=value).root_sum == value[0]
    for value in ([1, -(2**31), 0], [-1, 0, 2**31 - 1], [2**31 - 1, 0, -(2**31)]):
        with pytest.raises(KernelInputError, match="must fit into int32"):
            leaves(value=value)


def test_more_bin_columns_than_trees_can_name_are_refused():
    with pytest.raises(KernelInputError, match="at most 32768 bin columns"):
        leaves(columns=MAX_TREE_COLUMNS + 1)


@each_instruction_set
def test_the_last_bin_column_that_trees_can_name(instructions):
    columns = MAX_TREE_COLUMNS
    cuts = CutTable(np.zeros(columns, np.float32), np.arange(columns + 1), np.arange(columns), columns)
    last = [columns - 1, -1, -1]
    tables = ScoreTables(cuts, NO_RULES, leaves(column=last, feature=last, features=columns, columns=columns))
    x = np.full((20, columns), -1, np.float32)
    x[::2, -1] = 1
    with instruction_set(instructions):
        for rows in (x, x[:1], x[1:2]):
            same(score_rows(tables, rows).margin, reference.score_rows(tables, rows).margin)


NO_RULES = RuleTable(np.zeros(0, INSTRUCTION), 0, [], [], [], columns=0)


@pytest.mark.parametrize("rows", [0, 1, 5, 20, 200])
def test_tables_of_nothing_score_in_a_thread_that_scored_nothing_before(rows):
    nothing = CutTable(np.zeros(0, np.float32), [0], [], 0)
    leaf = leaves(column=[-1], shift=[0], rank=[0], left=[0], value=[7], feature=[-1], depth=[0], features=0, columns=0)
    x, found = np.zeros((rows, 0), np.float32), []

    def work() -> None:
        found.extend(score_rows(ScoreTables(nothing, NO_RULES, trees), x).margin for trees in (leaf, None))
        found.append(bin_features(nothing, x))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    same(found[0], np.full(rows, 7 / 8, np.float32))
    assert np.isnan(found[1]).all() and found[2].shape == (0, rows)


def test_what_c_reads_is_one_object_for_all_threads():
    """From Python 3.12 on a cached_property may run twice at once: the second result must not free the first."""
    tables = random_tables(Shape(seed=2))
    for of in (tables, tables.cuts, tables.rules, tables.trees):
        late = type(of).native.func(of)
        assert of.native is late and type(of).native.func(of) is late
