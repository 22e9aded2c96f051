"""The form of a program's answers, and the answers that are written with it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from scoring.decisions.answer_form import answer_form, rule_reason
from scoring.engine import AnswerColumns, AnswerForm, Outcome, Rule, render_answers
from scoring.features.schema import current_schema
from tests.scoring.decisions.programs import risk_program

STAMPS = ("rules_only", "late_event", "backfill")


def rule(rule_id: str, weight: float, when: dict | None = None) -> Rule:
    return Rule(rule_id, 1, when or {"in_list": "x"}, None, Outcome.REVIEW, weight, f"because of {rule_id}", "test")


def answer(form: AnswerForm, features: dict[str, tuple[float, float]], hits: tuple[int, ...] = (), **changed) -> dict:
    """One answer: feature -> (contribution, value), and the positions of the rules that were hit."""
    top = len(features)
    codes = np.zeros((1, len(form.rules)), np.uint8)
    codes[0, list(hits)] = form.hit
    told = {
        "decision_ids": b"0" * 36, "text": b"t1", "probability": np.array([0.5]), "occurred_us": np.zeros(1, np.int64),
        "received_us": np.zeros(1, np.int64), "id_starts": np.zeros(1, np.int32), "id_lengths": np.full(1, 2, np.int32),
        "score": np.full(1, 500, np.int32),
        "top_features": np.array([[current_schema().index(name) for name in features]], np.int32).reshape(1, top),
        "top_contributions": np.array([[of[0] for of in features.values()]], np.float32).reshape(1, top),
        "top_values": np.array([[of[1] for of in features.values()]], np.float32).reshape(1, top),
        "stamps": np.zeros(1, np.uint32), "queue_us": np.ones(1, np.uint32), "features_us": np.ones(1, np.uint32),
        "program_us": np.ones(1, np.uint32), "outcome": np.zeros(1, np.uint8), "rule_codes": codes,
    }  # fmt: skip
    (written,) = render_answers(form, AnswerColumns(**told | changed))
    return json.loads(written)


def test_the_form_names_everything_of_the_program():
    program = risk_program()
    form = answer_form(program, STAMPS, ("backfill",))
    assert [of.rule_id for of in form.rules] == [of.rule_id for of in program.rules]
    assert [of.name for of in form.features] == list(program.schema.names)
    assert form.outcomes == ("approve", "step_up", "review", "hold", "decline")
    assert form.rule_outcomes == ("no_hit", "hit", "insufficient_history", "error")
    assert dict(form.versions).keys() == {"program", "ruleset", "model", "features", "policy"}
    assert dict(form.versions)["model"] == "test-1"
    assert dict(answer_form(risk_program(forest=False), STAMPS).versions)["model"] is None


def test_a_stored_form_is_the_same_form():
    form = answer_form(risk_program(), STAMPS)
    again = AnswerForm.from_json(json.loads(json.dumps(form.to_json(), sort_keys=True)))
    assert again.digest == form.digest == answer_form(risk_program(), STAMPS).digest
    assert form.digest != answer_form(risk_program(rules=()), STAMPS).digest


def test_an_answer_says_why():
    program = risk_program()
    form = answer_form(program, STAMPS, ("backfill",))
    hit = [of.rule_id for of in program.rules].index("blocked_card")
    features = {"amount_minor": (4.0, 123_456.0), "is_abroad": (0.5, 1.0), "card.count.1h": (0.2, math.nan)}
    written = answer(form, features, (hit,), stamps=np.array([2], np.uint32))
    assert [(reason["code"], reason["text"]) for reason in written["reasons"]] == [
        ("model.amount_minor", "Amount of this transaction: 1,234.56"),
        ("list.blocked_card", "The card is on the block list"),
        ("model.is_abroad", "Made in another country than the card's or account's home"),
        ("model.card.count.1h", "Number of transactions of this card in the last hour: not known"),
    ]
    assert written["reasons"][1]["weight"] == round(math.log(20), 4)
    assert (written["mode"], written["degraded"], written["stamps"]) == ("late_event", True, ["late_event"])


def test_every_feature_of_the_schema_can_be_told():
    form = answer_form(risk_program(), STAMPS)
    for column in current_schema().columns:
        (reason,) = answer(form, {column.name: (1.0, 1.0)})["reasons"]
        assert reason["feature"] == column.name and reason["text"].lower().startswith(column.text.lower())


def test_a_rule_about_a_list_says_so():
    assert rule_reason(rule("a", 0.5))["code"] == "list.a"
    nested = {"op": "or", "args": [{"in_list": "x"}, {"in_list": "y"}]}
    assert rule_reason(rule("a", 0.5, nested))["source"] == "list"
    assert rule_reason(rule("a", 0.5, {"op": "is_missing", "args": [{"feature": "amount"}]}))["source"] == "rule"


@pytest.mark.parametrize(("weight", "told"), [(0.5, 0.6931), (0.0, 0.0), (0.95, 2.9957)])
def test_a_rule_s_weight_is_told_in_log_odds_like_units(weight, told):
    assert rule_reason(rule("a", weight))["weight"] == told
