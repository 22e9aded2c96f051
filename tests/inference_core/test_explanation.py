"""RiskProgram.explain: exact contributions of one row, whatever else the program does with the same bins."""

from __future__ import annotations

import numpy as np
import pytest
import xgboost

from inference_core import FeatureColumn, FeatureSchema, Forest, ProgramError, SchemaMismatch
from tests.inference_core.programs import RULES, SCHEMA, X, model_ubj, program


def pred_contribs(model: bytes, names: tuple[str, ...], row: np.ndarray) -> np.ndarray:
    booster = xgboost.Booster()
    booster.load_model(bytearray(model))
    return booster.predict(xgboost.DMatrix(row[None], feature_names=list(names)), pred_contribs=True)[0]


@pytest.mark.parametrize("rules", [RULES, ()], ids=["with rules", "alone"])
def test_it_is_what_xgboost_says(rules):
    of = program(rules=rules, list_names=("blocked",) if rules else ())
    for row in X:
        found = of.explain(row)
        theirs = pred_contribs(model_ubj(), SCHEMA.names, row)
        np.testing.assert_allclose(found.contributions, theirs[:-1], rtol=1e-3, atol=1e-4)
        assert found.bias == pytest.approx(theirs[-1], rel=1e-4)
        assert found.margin == pytest.approx(float(of.run(row[None]).margin[0]), rel=1e-6)


def test_a_feature_spread_over_several_bin_columns_is_one_feature():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4000, 2)).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    y = (np.sin(9 * np.nan_to_num(x[:, 0])) + 0.5 * np.nan_to_num(x[:, 1]) + 0.3 * rng.normal(size=4000) > 0).astype(int)
    schema = FeatureSchema((FeatureColumn("a", "count", "first"), FeatureColumn("b", "count", "second")))
    parameters = {"objective": "binary:logistic", "max_depth": 8, "max_bin": 1024, "nthread": 1, "tree_method": "hist"}
    booster = xgboost.train(parameters, xgboost.DMatrix(x, y, feature_names=list(schema.names)), 30)
    model = bytes(booster.save_raw("ubj"))
    of = program(schema=schema, rules=(), list_names=(), forest=Forest.from_xgboost(model, schema.names))
    assert of.plan.tables.cuts.columns > 2, "neither feature was spread"
    for row in x[:30]:
        theirs = pred_contribs(model, schema.names, row)
        np.testing.assert_allclose(of.explain(row).contributions, theirs[:-1], rtol=1e-3, atol=1e-4)


def test_the_fast_path_beside_it_is_what_scoring_told():
    of = program()
    for row in X:
        told, found = of.run(row[None], top=2), of.explain(row)
        assert found.path_contributions[told.top_features[0]].tolist() == told.top_contributions[0].tolist()


def test_a_row_of_a_matrix_in_columns_is_explained_as_well():
    columns = np.asfortranarray(X)
    assert program().explain(columns[1]).margin == program().explain(X[1]).margin


@pytest.mark.parametrize("row", [X, X[0].astype(float), X[0][:1], np.float32(1)])
def test_what_is_no_row_of_the_schema_is_refused(row):
    with pytest.raises(SchemaMismatch, match=r"one row, float32 \[2\]"):
        program().explain(row)


def test_a_program_of_rules_alone_has_nothing_to_explain():
    with pytest.raises(ProgramError, match="no forest"):
        program(forest=None).explain(X[0])
