"""After every pass a program says the same as before it, and each pass does what it is there for."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core import Forest, ProgramError, Rule, RuleOutcome
from inference_core.compiler import compile_program, passes
from inference_core.compiler.compile import PASSES, stages
from inference_core.compiler.draft import Draft
from inference_core.compiler.ir import AllOf, Always, Compare, Comparison, Constant, Derived, RuleTruths
from inference_core.compiler.lower import lower_program
from inference_core.compiler.verify import check_numbers, check_structure, evaluate
from kernels.tables import MAX_CUTS, NEVER, Source
from tests.inference_core.compiler.generated import Recipe, recipes, rows_near, rule_sets, trained
from tests.inference_core.expressions import LISTS, SCHEMA, expected_outcome, node, rows, rule
from tests.strategies import examples

A, B, C = ({"feature": name} for name in "abc")
NAMES = [module.name for module in pkgutil.iter_modules(passes.__path__)]


def number(value) -> dict:
    return {"number": value}


def drafted(*rules: Rule, forest: Forest | None = None) -> Draft:
    trees, base = (forest.trees, forest.base) if forest else (None, 0.0)
    return Draft(lower_program(SCHEMA, rules, LISTS, trees, base))


def after(name: str, *rules: Rule, forest: Forest | None = None) -> Draft:
    """Return the draft after the pass of this name."""
    drafts = dict(zip([step.__name__.split(".")[-1] for step in PASSES], stages(drafted(*rules, forest=forest)), strict=True))
    return drafts[name][0]


# --- the same numbers ----------------------------------------------------------------------------------------------------


def test_the_pipeline_runs_every_pass_of_the_folder():
    assert sorted(step.__name__.split(".")[-1] for step in PASSES) == sorted(NAMES)


@examples(150)
@given(rule_sets(), st.none() | recipes, rows, st.integers(0, 99))
def test_a_program_says_the_same_after_each_pass(rules, recipe, rows, seed):
    forest = trained(recipe)[1] if recipe else None
    x = np.array([row[:3] for row in rows], np.float32)
    if forest is not None:
        near = rows_near(forest, len(rows), seed, infinite=True)
        x = np.where(np.random.default_rng(seed).random(x.shape) < 0.5, near, x)
    members = np.array([row[3:] for row in rows])
    draft = drafted(*rules, forest=forest)
    truth = evaluate(draft, x, members)
    with np.errstate(all="ignore"):
        expected = [[expected_outcome(of, values, row[3:]) for of in rules] for values, row in zip(x, rows, strict=True)]
    assert truth.rule_outcomes.tolist() == expected
    seen = []
    for stage, account in stages(draft):
        seen.append(account.split(":")[0])
        check_numbers(truth, evaluate(stage, x, members))
    assert seen == [step.__name__.split(".")[-1] for step in PASSES]


def test_a_pass_that_changes_a_number_is_found_out():
    x, members = np.array([[1, 2, 3]], np.float32), np.zeros((1, 2), bool)
    before = evaluate(drafted(rule(node("gt", A, number(0)))), x, members)
    with pytest.raises(ProgramError, match="row .0. has other rule outcomes"):
        check_numbers(before, evaluate(drafted(rule(node("lt", A, number(0)))), x, members))
    forest = trained(Recipe())[1]
    right = evaluate(drafted(forest=forest), x, members)
    for name in ("margin", "contributions"):
        with pytest.raises(ProgramError, match=f"another {name}"):
            check_numbers(right, replace(right, **{name: getattr(right, name) + 1e-3}))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda ir: replace(ir, truths=(Compare(Comparison.LT, 7, 0),)), "reads no number"),
        (lambda ir: replace(ir, truths=(AllOf((0,)),)), "comes later"),
        (lambda ir: replace(ir, numbers=(Derived(0, 0, 0), *ir.numbers[1:])), "comes later"),
        (lambda ir: replace(ir, rules=(RuleTruths("r1", 0, 0, 99),)), "rule r1"),
        (lambda ir: replace(ir, stored=frozenset({99})), "stored"),
        (lambda ir: replace(ir, features=0), "no column"),
        (lambda ir: replace(ir, lists=0), "no list"),
    ],
)
def test_an_unsound_structure_is_refused(damage, says):
    draft = drafted(rule(node("or", {"in_list": "blocked"}, node("gt", A, number(0)))))
    check_structure(draft)
    with pytest.raises(ProgramError, match=says):
        check_structure(replace(draft, ir=damage(draft.ir)))


# --- what each pass is for -----------------------------------------------------------------------------------------------


def folds_constants() -> None:
    always = node("gt", node("multiply", number(1e30), number(1e30)), number(3e38))  # float32: infinity
    draft = after("constant_folding", rule(node("and", always, node("gt", A, node("add", number(1), number(2))))))
    assert Constant(3.0) in draft.ir.numbers and not any(isinstance(of, Derived) for of in draft.ir.numbers)
    compares = [of for of in draft.ir.truths if isinstance(of, Compare)]
    assert len(compares) == 1 and not any(isinstance(of, AllOf) for of in draft.ir.truths)
    for beyond in (node("gt", A, number(1e300)), node("lt", A, number(-1e300)), node("gt", number(-1e300), A)):
        ir = after("constant_folding", rule(beyond)).ir
        assert set(ir.truths) == {Always(False)}, "nothing lies beyond infinity"


def leaves_dead_rules_out() -> None:
    impossible = node("and", node("ge", A, number(5)), node("lt", A, number(5)))
    missing_and_known = node("and", node("is_missing", B), node("ge", B, number(0)))
    between = node("and", node("gt", A, number(5)), node("lt", A, number(7)))
    rules = (rule(impossible), rule(between, rule_id="r2"), rule(missing_and_known, rule_id="r3"))
    draft = after("dead_rules", *rules)
    assert [isinstance(draft.ir.truths[of.hit], Always) for of in draft.ir.rules] == [True, False, True]
    plan = compile_program(SCHEMA, rules, LISTS, None)
    assert [of == NEVER for of in plan.tables.rules.hit] == [True, False, True]
    assert "dead_rules: 2 of 3 rules can do nothing: r1, r3" in plan.accounts


def shares_predicates() -> None:
    ratio = node("gt", node("divide", A, B), number(2))
    part = node("or", ratio, node("and", node("is_missing", C), {"in_list": "watched"}))
    rules = [rule(node("and", part, node("gt", A, number(i))), rule_id=f"r{i}") for i in range(4)]
    draft = after("common_predicates", *rules)
    assert sum(isinstance(of, Derived) for of in draft.ir.numbers) == 1
    assert len(set(draft.ir.truths)) == len(draft.ir.truths) and draft.ir.stored
    steps = after("layout", *rules).tables.rules.steps
    division = [step for step in steps if step["source"] == Source.PREDICATE and step["operand"] == 3]
    assert len(division) == 1, "the ratio is looked at once for four rules"


def test_conditions_that_several_rules_ask_together_are_asked_once():
    """Also as the opposite: without history `requires` is false, and where it holds the rule may hit."""
    history = node("and", node("ge", B, number(5)), node("not", node("is_missing", C)), {"in_list": "watched"})
    rules = tuple(rule(node("gt", A, number(i)), history, rule_id=f"r{i}") for i in range(10))
    steps = compile_program(SCHEMA, rules, LISTS, None).tables.rules.steps
    assert len(steps) == 3 + 10 + 9 + 1  # history, one more test a rule, history read again, and its opposite
    assert sum(step["source"] == Source.PREDICATE and step["operand"] == 1 for step in steps) == 1


def test_bounds_of_one_number_stay_together():
    """Two bounds are one test of a bin; taking one of them out as common would make two of it."""
    rules = tuple(
        rule(node("and", node("ge", A, number(1)), {"in_list": "watched"}, node("lt", A, number(i))), rule_id=f"r{i}")
        for i in range(2, 6)
    )
    steps = compile_program(SCHEMA, rules, LISTS, None).tables.rules.steps
    assert len(steps) == 4 * 2 and all(step["source"] == Source.PREDICATE for step in steps)


def tiles_trees() -> None:
    forest = trained(Recipe(trees=20, depth=10))[1]
    deep = [tree.depth for tree in forest.trees]
    tiled = [tree.depth for tree in after("tree_tiling", forest=forest).ir.trees]
    assert tiled == sorted(deep) and deep != tiled


def unites_cuts() -> None:
    forest = trained(Recipe(trees=30, depth=5, digits=6, rows=2000, missing=0))[1]
    draft = after("cut_union", rule(node("eq", A, number(0.25))), forest=forest)
    cuts = draft.cuts.by_source[0].cuts
    assert {0.25, float(np.nextafter(np.float32(0.25), np.float32(1)))} <= set(cuts.tolist())
    assert set(np.concatenate([tree.threshold[tree.feature == 0] for tree in forest.trees]).tolist()) <= set(cuts.tolist())
    zeros = after("cut_union", rule(node("lt", A, number(-0.0))), rule(node("ge", A, number(0.0)), rule_id="r2"))
    assert np.signbit(zeros.cuts.by_source[0].cuts).tolist() == [False], "one zero, however a kernel orders floats"
    unused = after("cut_union", rule(node("gt", C, number(1))))
    assert [of.source for of in unused.cuts.sources] == [2]


def lays_out() -> None:
    nested = node("and", *[node("or", node("gt", A, number(i)), node("lt", B, number(i))) for i in range(6)])
    tables = after("layout", *(rule(nested, rule_id=f"r{i}") for i in range(3)), forest=trained(Recipe())[1]).tables
    assert tables.rules.registers <= 6 and len(set(tables.rules.hit.tolist())) == 1, "registers are used again"
    value = tables.trees.value.astype(np.int64)
    assert 2**29 <= 2 * np.abs(value).max() < 2**31 and tables.trees.scale > 20


EFFECTS: dict[str, Callable[[], None]] = {
    "constant_folding": folds_constants, "dead_rules": leaves_dead_rules_out, "common_predicates": shares_predicates,
    "tree_tiling": tiles_trees, "cut_union": unites_cuts, "layout": lays_out,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_each_pass_does_what_it_is_for(name):
    assert name in EFFECTS, f"write down in EFFECTS what the pass {name} is for"
    EFFECTS[name]()


# --- many cuts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, MAX_CUTS, MAX_CUTS + 1, 2 * MAX_CUTS + 1, 1500])
def test_a_feature_with_many_cuts_is_spread_over_columns_without_loss(count):
    rules = tuple(rule(node("lt", A, number(i)), rule_id=f"r{i}") for i in range(count))
    plan = compile_program(SCHEMA, rules, LISTS, None)
    assert plan.tables.cuts.columns == -(-count // MAX_CUTS)
    x = np.full((count + 2, 3), np.nan, np.float32)
    x[:-1, 0] = np.arange(count + 1) - 0.5
    outcomes = evaluate(Draft(lower_program(SCHEMA, rules, LISTS, None, 0.0), None, plan.tables), x, np.zeros((len(x), 2), bool))
    np.testing.assert_array_equal(outcomes.rule_outcomes[:-1].sum(axis=1), np.arange(count, -1, -1))
    assert not outcomes.rule_outcomes[-1].any(), "a missing value is below nothing"


@examples(15)
@given(st.integers(0, 600), st.integers(0, 600), st.sampled_from(["lt", "le", "gt", "ge", "eq", "ne"]))
def test_ranges_across_columns(low, high, op):
    """Ranges, equalities and their negations whose two ends lie in different bin columns of one feature."""
    fill = tuple(rule(node("le", A, number(i)), rule_id=f"r{i}") for i in range(0, 600, 2))
    asked = node("and", node("ge", A, number(low)), node("lt", A, number(high)))
    others = {"range": asked, "outside": node("not", asked), "op": node(op, A, number(low))}
    rules = (*fill, *(rule(when, rule_id=name) for name, when in others.items()))
    x = np.full((1203, 3), np.nan, np.float32)
    x[:1202, 0] = np.arange(-1, 1201) / 2
    plan = compile_program(SCHEMA, rules, LISTS, None)
    draft = drafted(*rules)
    members = np.zeros((len(x), 2), bool)
    check_numbers(evaluate(draft, x, members), evaluate(replace(draft, tables=plan.tables), x, members))


def test_no_rules_no_trees_and_no_columns():
    for forest in (None, trained(Recipe(trees=0))[1]):
        tables = after("layout", forest=forest).tables
        assert tables.cuts.columns == 0 and tables.rules.rules == 0
        got = evaluate(Draft(drafted(forest=forest).ir, None, tables), np.zeros((2, 3), np.float32), np.zeros((2, 2), bool))
        assert got.rule_outcomes.shape == (2, 0) and np.isnan(got.margin).all() == (forest is None)


def test_a_rule_in_error_is_told_before_insufficient_history_and_hits():
    by_zero = node("gt", node("divide", A, number(0)), number(1))
    hits = node("ge", number(1), number(0))
    cases = {
        RuleOutcome.ERROR: [(by_zero, None), (by_zero, hits), (hits, by_zero)],
        RuleOutcome.INSUFFICIENT_HISTORY: [(by_zero, node("not", hits)), (hits, node("not", hits))],
        RuleOutcome.HIT: [(hits, None), (hits, hits)],
        RuleOutcome.NO_HIT: [(node("not", hits), hits)],
    }
    for outcome, pairs in cases.items():
        rules = tuple(rule(when, requires, rule_id=f"r{i}") for i, (when, requires) in enumerate(pairs))
        said = evaluate(after("layout", *rules), np.ones((1, 3), np.float32), np.zeros((1, 2), bool))
        assert said.rule_outcomes.tolist() == [[outcome] * len(rules)]
