"""Sets of bins: joining tests never changes which bins are accepted, and every test that is left is one step."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inference_core.compiler.tables.formulas import BINS, BinTest, Fixed, Formula, Group, bins_between, group, negation, run_of
from tests.strategies import examples


@st.composite
def runs(draw: st.DrawFn) -> int:
    """A run of bins, perhaps around the end."""
    low, width = draw(st.integers(0, 255)), draw(st.integers(1, 255))
    bins = bins_between(low, min(low + width, BINS))
    return bins | bins_between(0, max(low + width - BINS, 0))


tests = st.builds(BinTest, st.integers(0, 1), runs())
leaf_formulas = tests | st.builds(Fixed, st.booleans())
formulas = st.recursive(leaf_formulas, lambda of: st.builds(group, st.booleans(), st.lists(of, max_size=4)), max_leaves=8)


def holds(of: Formula, row: tuple[int, int]) -> bool:
    if isinstance(of, Fixed):
        return of.value
    if isinstance(of, BinTest):
        return bool(of.bins >> row[of.column] & 1)
    return (all if of.every else any)(holds(arg, row) for arg in of.args)


def leaves(of: Formula) -> list[Formula]:
    return [leaf for arg in of.args for leaf in leaves(arg)] if isinstance(of, Group) else [of]


ROWS = st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), min_size=1, max_size=20)


@examples(200)
@given(st.booleans(), st.lists(formulas, max_size=4), ROWS)
def test_a_group_holds_where_its_arguments_do(every, args, rows):
    joined = group(every, args)
    for row in rows:
        assert holds(joined, row) is (all if every else any)(holds(arg, row) for arg in args)
        assert holds(negation(joined), row) is not holds(joined, row)
    for leaf in leaves(joined) + leaves(negation(joined)):
        assert isinstance(leaf, Fixed) or run_of(leaf.bins) is not None


@given(runs())
def test_a_run_is_recognised(bins):
    low, width = run_of(bins)
    assert all((bins >> bin & 1) == ((bin - low) % BINS < width) for bin in range(BINS))


def test_what_is_no_run_is_not():
    assert run_of(0) is None and run_of((1 << BINS) - 1) is None and run_of(0b101) is None


def test_two_bounds_of_one_column_are_one_step():
    at_least, below = BinTest(0, bins_between(5, 255)), BinTest(0, bins_between(0, 9))
    assert group(True, [at_least, below]) == BinTest(0, bins_between(5, 9))
    missing = BinTest(0, bins_between(255, 256))
    assert group(False, [BinTest(0, bins_between(5, 255)), missing]) == BinTest(0, bins_between(5, 256))
    assert group(True, [BinTest(0, bins_between(0, 5)), BinTest(0, bins_between(5, 9))]) == Fixed(False)
    assert isinstance(group(True, [at_least, BinTest(1, bins_between(0, 9))]), Group)
