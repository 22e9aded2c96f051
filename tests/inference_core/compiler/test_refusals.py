"""What cannot be compiled is refused by name when the program is built."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xgboost

from inference_core import Forest, ProgramError, RuleError
from inference_core.compiler import compile_program
from inference_core.compiler.tables import rule_table, tree_table
from tests.inference_core.compiler.generated import Recipe, trained
from tests.inference_core.expressions import FEATURES, LISTS, SCHEMA, TRUE, node, rule


def damaged(change, tree: int = 2) -> bytes:
    booster, _ = trained(Recipe(trees=4))
    document = json.loads(bytes(booster.save_raw("json")))
    change(document["learner"]["gradient_booster"]["model"]["trees"][tree])
    return json.dumps(document).encode()


def read(raw: bytes) -> Forest:
    return Forest.from_xgboost(raw, FEATURES)


def leaf_of(tree: dict) -> int:
    return tree["left_children"].index(-1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t["split_conditions"].__setitem__(leaf_of(t), 2.0**30), "tree 2 has a leaf of 1.07374e"),
        (lambda t: t["split_conditions"].__setitem__(leaf_of(t), float("nan")), "tree 2 is damaged"),
        (lambda t: t["split_conditions"].__setitem__(0, float("nan")), "tree 2 is damaged"),
        (lambda t: t["sum_hessian"].__setitem__(0, -1.0), "tree 2 is damaged"),
        (lambda t: t["split_indices"].__setitem__(0, 3), "tree 2 tests feature 3, but there are 3"),
        (lambda t: t["split_type"].__setitem__(0, 1), "tree 2 has categorical splits"),
        (lambda t: t["categories"].append(1), "tree 2 has categorical splits"),
        (lambda t: t["tree_param"].__setitem__("size_leaf_vector", "2"), "tree 2 has vector leaves"),
        (lambda t: t["left_children"].__setitem__(0, 0), "tree 2 is not a tree"),
        (lambda t: t["sum_hessian"].pop(), "tree 2 is damaged: its columns differ in length"),
    ],
)
def test_a_tree_that_cannot_be_run_is_named(change, says):
    assert read(damaged(lambda tree: None)).tree_count == 4
    with pytest.raises(ProgramError, match=says):
        read(damaged(change))


def test_the_tree_with_the_first_categorical_split_is_named():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 6, (300, 2)).astype(np.float32)
    matrix = xgboost.DMatrix(x, (x[:, 1] > 2) ^ (x[:, 0] % 2 == 1), feature_types=["c", "q"], enable_categorical=True)
    parameters = {"objective": "binary:logistic", "nthread": 1, "max_depth": 1, "max_cat_to_onehot": 1}
    booster = xgboost.train(parameters, matrix, 8)
    trees = json.loads(bytes(booster.save_raw("json")))["learner"]["gradient_booster"]["model"]["trees"]
    first = [bool(tree["categories"]) for tree in trees].index(True)
    with pytest.raises(ProgramError, match=f"tree {first} has categorical splits"):
        Forest.from_xgboost(bytes(booster.save_raw("ubj")), ("a", "b"))


def test_the_largest_leaves_that_fit_are_exact_enough():
    limit = float(np.nextafter(np.float32(2**30), np.float32(0)))
    forest = read(damaged(lambda tree: tree["split_conditions"].__setitem__(leaf_of(tree), -limit)))
    assert forest.tables.trees.scale == 0
    value = forest.tables.trees.value.astype(np.int64)
    assert value.min() == -int(limit) and np.isfinite(forest.margins(np.zeros((1, 3), np.float32))).all()


def test_tiny_leaves_keep_their_digits():
    def shrink(tree: dict) -> None:
        pairs = zip(tree["split_conditions"], tree["left_children"], strict=True)
        tree["split_conditions"] = [condition * 1e-12 if left < 0 else condition for condition, left in pairs]

    booster, _ = trained(Recipe(trees=1))
    document = json.loads(bytes(booster.save_raw("json")))
    shrink(document["learner"]["gradient_booster"]["model"]["trees"][0])
    forest = read(json.dumps(document).encode())
    tree = forest.trees[0]
    leaves = tree.value[tree.feature < 0]
    stored = forest.tables.trees.value[tree.feature < 0] * 2.0**-forest.tables.trees.scale
    np.testing.assert_allclose(stored, leaves, rtol=0, atol=2.0**-63)


def test_a_rule_that_reads_a_bin_column_beyond_what_a_step_can_name_is_refused():
    lists = tuple(f"l{i}" for i in range(65_540))
    fits = rule({"in_list": "l65535"}, rule_id="last_that_fits")
    assert compile_program(SCHEMA, (fits,), lists, None).tables.rules.rules == 1
    with pytest.raises(RuleError, match="rule too_far: it reads bin column 65536"):
        compile_program(SCHEMA, (fits, rule({"in_list": "l65536"}, rule_id="too_far")), lists, None)


def test_more_registers_than_a_step_can_name_are_refused(monkeypatch):
    monkeypatch.setattr(rule_table, "OPERANDS", 3)
    rules = tuple(rule(node("gt", {"feature": "a"}, {"number": i}), rule_id=f"r{i}") for i in range(4))
    assert compile_program(SCHEMA, rules[:3], LISTS, None).tables.rules.registers == 3
    with pytest.raises(ProgramError, match="4 rules need 4 registers, and a program has 3: spread them"):
        compile_program(SCHEMA, rules, LISTS, None)


def test_more_bin_columns_than_trees_can_name_are_refused(monkeypatch):
    forest = trained(Recipe(features=3, trees=3))[1]
    monkeypatch.setattr(tree_table, "MAX_TREE_COLUMNS", 2)
    with pytest.raises(ProgramError, match="need 3 bin columns, and a forest's table has at most 2: use fewer features"):
        compile_program(SCHEMA, (), LISTS, forest.trees)


def test_a_forest_of_more_features_than_the_schema_is_refused_by_tree():
    forest = trained(Recipe(features=5, trees=3))[1]
    wrong = [tree.number for tree in forest.trees if tree.feature.max() >= 3]
    with pytest.raises(ProgramError, match=f"tree {wrong[0]} tests feature [34], but there are 3"):
        compile_program(SCHEMA, (), LISTS, forest.trees)


@pytest.mark.parametrize("place", ["when", "requires"])
def test_a_faulty_rule_is_named_with_its_place(place):
    fault = node("and", TRUE, node("gt", {"feature": "zzz"}, {"number": 1}))
    rules = (rule(TRUE), rule(**({"when": TRUE} | {place: fault}), rule_id="faulty"))
    with pytest.raises(RuleError, match="rule faulty at /args/1/args/0: there is no feature 'zzz'"):
        compile_program(SCHEMA, rules, LISTS, None)
