"""The program: its parts fit together, it cannot be changed, and it answers whole batches."""

from __future__ import annotations

import threading
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from inference_core import Calibration, FeatureSchema, ProgramError, RuleError, RuleOutcome, SchemaMismatch
from kernels.bin_features import bin_features
from kernels.path_contributions import path_contributions
from tests.inference_core.programs import RULES, SCHEMA, X, program

MEMBERS = np.array([[False], [False], [True], [False], [False]])


def test_rules_margin_and_probability_of_a_batch():
    of = program()
    result = of.run(X, MEMBERS)
    assert result.rule_outcomes.tolist() == [[0, 0], [1, 0], [0, 1], [0, 0], [1, 0]]
    np.testing.assert_array_equal(result.margin, of.forest.margins(X))
    np.testing.assert_allclose(result.probability, 1 / (1 + np.exp(-(0.8 * result.margin.astype(float) - 0.5))))
    # both columns are among the four asked for, so that they add up
    np.testing.assert_allclose(result.top_contributions.sum(axis=1) + of.forest.bias, result.margin, rtol=1e-5)
    assert result.probability[1] > result.probability[3]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_row_gets_the_same_answer_in_any_batch(size):
    of, whole = program(), program().run(X, MEMBERS)
    for start in range(0, len(X), size):
        part = of.run(X[start : start + size].copy(), MEMBERS[start : start + size])
        for name in ("rule_outcomes", "margin", "probability", "top_features", "top_contributions"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[start : start + size])


def test_no_rows():
    result = program().run(np.zeros((0, 2), np.float32))
    assert result.rule_outcomes.shape == (0, 2) and result.probability.shape == (0,) and result.top_contributions.shape == (0, 2)


def test_without_lists_given_nobody_is_on_one():
    assert program().run(X).rule_outcomes[:, 1].tolist() == [RuleOutcome.NO_HIT] * 5


def test_without_a_forest_the_probability_is_not_known():
    result = program(forest=None).run(X)
    assert np.isnan(result.probability).all() and np.isnan(result.margin).all() and not result.top_contributions.any()
    assert result.rule_outcomes[1, 0] == RuleOutcome.HIT


def test_largest_contributions_come_first():
    of = program()
    tables = of.plan.tables
    _, dense = path_contributions(tables.trees, bin_features(tables.cuts, X))
    for top in (1, 2):
        result = of.run(X, top=top)
        np.testing.assert_array_equal(result.top_contributions, np.take_along_axis(dense, result.top_features, axis=1))
        np.testing.assert_array_equal(result.top_contributions, -np.sort(-dense, axis=1)[:, :top])
    assert of.run(X, top=0).top_features.shape == (5, 0)
    assert of.run(X, top=9).top_features.shape == (5, 2), "a schema of two features has no more"


@pytest.mark.parametrize("x", [np.zeros((1, 3), np.float32), np.zeros((1, 2)), np.zeros(2, np.float32)])
def test_rows_of_another_schema_are_refused(x):
    with pytest.raises(SchemaMismatch, match=r"x must be float32 \[B, 2\]"):
        program().run(x)


@pytest.mark.parametrize("members", [np.zeros((5, 2), bool), np.zeros((4, 1), bool), np.zeros(5, bool), np.zeros((5, 1))])
def test_memberships_of_another_shape_are_refused(members):
    with pytest.raises(SchemaMismatch, match="memberships"):
        program().run(X, members)


# --- parts that do not fit -----------------------------------------------------------------------------------------------


def test_a_version_is_needed():
    with pytest.raises(ProgramError, match="version"):
        program(version="")


def test_a_rule_id_occurs_once():
    with pytest.raises(ProgramError, match="once"):
        program(rules=(*RULES, RULES[0]))


def test_a_forest_of_other_features_is_refused():
    with pytest.raises(SchemaMismatch, match="other features"):
        program(schema=FeatureSchema(SCHEMA.columns[::-1]))


def test_a_rule_about_an_unknown_list_or_feature_is_refused():
    with pytest.raises(RuleError, match="no list 'blocked'"):
        program(list_names=())
    with pytest.raises(RuleError, match="no feature"):
        program(rules=(replace(RULES[0], when={"op": "is_missing", "args": [{"feature": "zzz"}]}),))


# --- immutable -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["schema", "rules", "forest", "calibration", "policy", "version", "list_names", "new"])
def test_a_program_cannot_be_changed(name):
    with pytest.raises(FrozenInstanceError):
        setattr(program(), name, None)


def test_its_parts_cannot_be_changed_either():
    of = program()
    for part, name in (
        (of.calibration, "slope"),
        (of.policy, "review_cost_minor"),
        (of.rules[0], "weight"),
        (of.schema, "columns"),
        (of.schema.columns[0], "unit"),
    ):
        with pytest.raises(FrozenInstanceError):
            setattr(part, name, 0)
    with pytest.raises(ValueError, match="read-only"):
        of.forest.trees[0].value[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        of.plan.tables.trees.value[0] = 1


def test_an_expression_that_was_passed_in_can_be_changed_without_changing_the_rule():
    when = {"op": "gt", "args": [{"feature": "amount"}, {"number": 100}]}
    rule = replace(RULES[0], when=when)
    of = program(rules=(rule,))
    when["args"][1]["number"] = 0
    assert of.run(X).rule_outcomes[0, 0] == RuleOutcome.NO_HIT
    assert of.rules[0].when["args"][1]["number"] == 100


def test_running_changes_neither_the_input_nor_the_next_answer():
    of, x = program(), X.copy()
    first, second = of.run(x), of.run(x)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(first.top_contributions, second.top_contributions)


def test_threads_may_share_a_program():
    of = program()
    rows = np.repeat(X, 200, axis=0)
    expected, wrong = of.run(rows).margin.tobytes(), []

    def work() -> None:
        for _ in range(20):
            if of.run(rows).margin.tobytes() != expected:
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_calibration_is_applied():
    plain, calibrated = program(calibration=Calibration.identity()).run(X), program().run(X)
    assert (plain.margin == calibrated.margin).all() and (plain.probability != calibrated.probability).all()
