"""The exact explanation of a stored decision, and what is said where there is none."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import xgboost

from scoring.decisions.released_programs import released_programs
from scoring.errors import DecisionNotFound, ExplanationUnavailable, NothingToExplain
from scoring.feature_rows import packed_row, stored_row
from scoring.features.schema import current_schema
from scoring.models import Decision
from scoring.selectors.explanation import explain_decision
from tests.factories import make_flagged
from tests.scoring.decisions.conftest import make_champion
from tests.scoring.decisions.programs import model_ubj, risk_program

__all__ = ["make_champion"]
pytestmark = [pytest.mark.django_db, pytest.mark.any_database]


@pytest.fixture(autouse=True)
def nothing_is_held():
    released_programs.forget()
    yield
    released_programs.forget()


def decided(version: str = "v1", **given) -> Decision:
    """A decision with a random feature row, whose margin is what the test program says of it."""
    decision = make_flagged(program_version=version, **given)
    if decision.feature_schema == current_schema().version and decision.features:
        decision.margin = float(risk_program().run(stored_row(decision.features)[None]).margin[0])
        decision.save()
    return decision


def test_it_is_what_xgboost_says_of_the_row_that_was_scored(make_champion):
    make_champion("v1")
    decision = decided()
    found = explain_decision(decision.decision_id)
    booster = xgboost.Booster()
    booster.load_model(bytearray(model_ubj()))
    names = list(current_schema().names)
    row = xgboost.DMatrix(stored_row(decision.features)[None], feature_names=names)
    *theirs, bias = booster.predict(row, pred_contribs=True)[0].tolist()
    exact = {feature.name: feature.exact for feature in found.features}
    np.testing.assert_allclose([exact[name] for name in names], theirs, rtol=1e-3, atol=1e-4)
    assert found.bias == pytest.approx(bias, rel=1e-4)
    assert found.margin == pytest.approx(decision.margin, abs=1e-5) and found.agrees
    assert (found.program_version, found.decided_probability) == ("v1", decision.probability)


def test_both_ways_to_share_the_margin_out_add_up_to_it(make_champion):
    make_champion("v1")
    found = explain_decision(decided().decision_id)
    assert found.bias + sum(feature.exact for feature in found.features) == pytest.approx(found.margin, abs=1e-6)
    assert found.bias + sum(feature.path for feature in found.features) == pytest.approx(found.margin, abs=1e-4)
    assert any(abs(feature.exact - feature.path) > 0.01 for feature in found.features), "they are different things"


def test_features_are_named_and_the_largest_comes_first(make_champion):
    make_champion("v1")
    reason = {"code": "model.card.count.24h", "source": "model", "text": "x", "weight": 1.0, "feature": "card.count.24h"}
    decision = decided(reasons=[reason])
    found = explain_decision(decision.decision_id)
    sizes = [abs(feature.exact) for feature in found.features]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) == current_schema().width
    values = dict(zip(current_schema().names, stored_row(decision.features).tolist(), strict=True))
    for feature in found.features:
        column = current_schema().columns[current_schema().index(feature.name)]
        assert (feature.text, feature.unit) == (column.text, column.unit)
        assert feature.value == (None if np.isnan(values[feature.name]) else values[feature.name])
        assert feature.is_reason == (feature.name == "card.count.24h")
    assert [reason.feature for reason in found.reasons] == ["card.count.24h"]


def test_the_program_that_decided_explains_and_not_the_one_that_serves_now(make_champion):
    make_champion("v1")
    make_champion("v2", risk_program(version="v2", forest=False))
    assert explain_decision(decided("v1").decision_id).program_version == "v1"
    with pytest.raises(NothingToExplain, match="v2 has no model"):
        explain_decision(decided("v2").decision_id)


def test_another_margin_than_the_one_decided_on_is_told(make_champion):
    make_champion("v1")
    decision = decided()
    Decision.objects.filter(pk=decision.pk).update(margin=decision.margin + 0.01)
    assert not explain_decision(decision.decision_id).agrees


def test_a_decision_of_rules_alone():
    decision = make_flagged(probability=None, margin=None, degraded=True, mode="rules_only", program_version="rules-0a1b2c")
    decision.response = decision.response.replace('"model": "rules-0a1b2c"', '"model": null')
    decision.save()
    with pytest.raises(NothingToExplain, match="rules alone made this decision"):
        explain_decision(decision.decision_id)


@pytest.mark.parametrize("decision_id", ["nobody", "", "\x00", "x" * 500])
def test_an_unknown_decision(decision_id):
    with pytest.raises(DecisionNotFound):
        explain_decision(decision_id)


def test_a_program_that_no_release_names():
    with pytest.raises(ExplanationUnavailable, match="program v9, which made this decision, is not among the releases"):
        explain_decision(decided("v9").decision_id)


def test_a_program_whose_folder_is_gone(make_champion, settings):
    make_champion("v1")
    shutil.rmtree(settings.ARTIFACT_DIR / "v1")
    with pytest.raises(ExplanationUnavailable, match=r"program v1.* cannot be read .*Restore its folder"):
        explain_decision(decided().decision_id)


def test_a_program_that_was_changed_on_disk(make_champion, settings):
    make_champion("v1")
    path = settings.ARTIFACT_DIR / "v1" / "model.ubj"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ExplanationUnavailable, match="model.ubj was changed after it was signed"):
        explain_decision(decided().decision_id)


def test_a_feature_row_that_is_gone(make_champion):
    make_champion("v1")
    with pytest.raises(ExplanationUnavailable, match="feature row of this decision is not stored any more"):
        explain_decision(decided(features=b"").decision_id)


def test_a_feature_row_of_another_schema(make_champion):
    make_champion("v1")
    decision = decided(feature_schema="0123456789abcdef", features=packed_row(np.ones(3, np.float32)))
    with pytest.raises(ExplanationUnavailable, match="3 values of feature schema 0123456789abcdef"):
        explain_decision(decision.decision_id)


@pytest.mark.parametrize("damaged", [b"\x02", b"\x01\x00", b"\x00\x00\x80\x3f" * 3, "one byte less", "another byte"])
def test_a_damaged_feature_row(make_champion, damaged):
    make_champion("v1")
    decision = decided()
    packed = bytes(decision.features)
    changed = {"one byte less": packed[:-1], "another byte": packed[:-1] + bytes([packed[-1] ^ 1])}.get(damaged, damaged)
    Decision.objects.filter(pk=decision.pk).update(features=changed)
    with pytest.raises(ExplanationUnavailable, match="feature row of this decision is not readable: packed row 0 "):
        explain_decision(decision.decision_id)


def test_one_release_in_memory_is_read_from_disk_once(make_champion, settings):
    make_champion("v1")
    decision = decided()
    explain_decision(decision.decision_id)
    shutil.rmtree(settings.ARTIFACT_DIR / "v1")
    assert explain_decision(decision.decision_id).agrees
