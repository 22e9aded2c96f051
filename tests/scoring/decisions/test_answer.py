"""The answer's text: reasons in order, times, modes, ids."""

from __future__ import annotations

import json
import math
import uuid
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from scoring.decisions.answer import AnswerWriter, encode_answer, rfc3339
from scoring.decisions.engine import new_decision_ids
from scoring.decisions.reasons import MAX_REASONS, ModelReasons, Reason, rule_reason, strongest
from scoring.decisions.score_batch import score_batch
from scoring.decisions.state_keeper import event_key
from scoring.engine import FeatureColumn, FeatureSchema, Outcome, Rule
from scoring.features.state import FeatureState
from scoring.transactions import parse_stored
from tests.scoring.decisions.programs import risk_program

SCHEMA = FeatureSchema(
    (
        FeatureColumn("amount", "minor units", "amount of this transaction"),
        FeatureColumn("since", "seconds", "time since the previous one"),
        FeatureColumn("rate", "share", "share of known fraud"),
        FeatureColumn("ratio", "times", "amount compared with the mean"),
        FeatureColumn("abroad", "0 or 1", "made abroad"),
        FeatureColumn("count", "count", "number of payments"),
    )
)


def rule(rule_id: str, weight: float, when: dict | None = None) -> Rule:
    return Rule(rule_id, 1, when or {"in_list": "x"}, None, Outcome.REVIEW, weight, f"because of {rule_id}", "test")


def texts(position: int, value: float) -> str:
    (reason,) = ModelReasons(SCHEMA).of([position], [1.0], [value])
    return reason.text


@pytest.mark.parametrize(
    ("position", "value", "text"),
    [
        (0, 123_456.0, "Amount of this transaction: 1,234.56"),
        (1, 45.0, "Time since the previous one: 45 seconds"),
        (1, 7_200.0, "Time since the previous one: 2 hours"),
        (1, 172_800.0, "Time since the previous one: 2 days"),
        (2, 0.031, "Share of known fraud: 3.1%"),
        (3, 9.06, "Amount compared with the mean: 9.1 times"),
        (4, 1.0, "Made abroad"),
        (4, 0.0, "Not: made abroad"),
        (5, 7.0, "Number of payments: 7"),
        (5, math.nan, "Number of payments: not known"),
    ],
)
def test_a_feature_is_told_in_words(position, value, text):
    assert texts(position, value) == text


def test_reasons_of_both_kinds_are_ranked_on_one_scale():
    rules = [rule_reason(rule("weak", 0.1)), rule_reason(rule("strong", 0.9))]
    model = ModelReasons(SCHEMA).of([0, 5, 2, 1], [1.5, 0.8, 0.2, 0.06], [1.0, 2.0, 0.5, 9.0])
    ranked = strongest(rules, model)
    assert [reason.code for reason in ranked] == ["list.strong", "model.amount", "model.count", "model.rate"]
    assert len(ranked) == MAX_REASONS


def test_contributions_too_small_to_matter_are_no_reasons():
    assert ModelReasons(SCHEMA).of([0, 1], [0.2, 0.04], [1.0, 1.0])[-1].feature == "amount"
    assert ModelReasons(SCHEMA).of([0, -1], [-0.3, -math.inf], [1.0, 1.0]) == []


def test_a_rule_about_a_list_says_so():
    assert rule_reason(rule("a", 0.5)).source == "list"
    nested = {"op": "or", "args": [{"in_list": "x"}, {"in_list": "y"}]}
    assert rule_reason(rule("a", 0.5, nested)).source == "list"
    assert rule_reason(rule("a", 0.5, {"op": "is_missing", "args": [{"feature": "amount"}]})).source == "rule"


def test_a_rule_s_weight_is_told_in_log_odds_like_units():
    assert rule_reason(rule("a", 0.5)).weight == pytest.approx(math.log(2), abs=1e-4)
    assert rule_reason(rule("a", 0.0)).weight == 0


def _answers(program, *bodies: dict):
    state = FeatureState(7)
    common = {
        "occurred_at": "2026-01-05T10:00:00Z",
        "amount_minor": 10,
        "currency": "EUR",
        "type": "transfer",
        "channel": "web",
        "card_id": "k",
    }
    payments = [parse_stored(json.dumps(common | {"transaction_id": f"t{i}"} | body)) for i, body in enumerate(bodies)]
    scored = score_batch(state, program, state.tokens.columns(payments, range(len(payments)), remember=True))
    received = [datetime(2026, 1, 5, 10, 0, 1, tzinfo=UTC)] * len(payments)
    return AnswerWriter(program).answers(
        payments, [f"d{i}" for i in range(len(payments))], received, scored, [7] * len(payments), [False] * len(payments)
    )


def test_an_answer_carries_everything_that_the_contract_names():
    (answer,) = _answers(risk_program(), {})
    document = json.loads(encode_answer(answer))
    assert list(document) == [
        "decision_id",
        "transaction_id",
        "status",
        "outcome",
        "score",
        "probability",
        "reasons",
        "rules",
        "degraded",
        "mode",
        "versions",
        "timing_us",
        "occurred_at",
        "received_at",
    ]
    assert (
        document["versions"].keys() == {"program", "ruleset", "model", "features", "policy"}
        and document["versions"]["model"] == "test-1"
    )
    assert document["timing_us"].keys() == {"queue", "features", "program"} and document["timing_us"]["queue"] == 7
    assert {r["outcome"] for r in document["rules"]} <= {"no_hit", "insufficient_history"} and len(document["rules"]) >= 12
    assert (document["occurred_at"], document["received_at"]) == ("2026-01-05T10:00:00.000000Z", "2026-01-05T10:00:01.000000Z")
    assert 0 <= document["score"] <= 1000 and 0 <= document["probability"] <= 1


def test_without_a_model_the_answer_is_degraded_and_says_why():
    (answer,) = _answers(risk_program(forest=False), {})
    document = json.loads(encode_answer(answer))
    assert (document["mode"], document["degraded"], document["probability"], document["outcome"]) == (
        "rules_only",
        True,
        None,
        "review",
    )
    assert document["versions"]["model"] is None
    assert [reason["code"] for reason in document["reasons"]] == ["policy.no_probability"]


def test_a_rule_in_error_and_a_late_event_are_told():
    faulty = Rule(
        "faulty",
        1,
        {"op": "gt", "args": [{"op": "divide", "args": [{"number": 1}, {"number": 0}]}, {"number": 0}]},
        None,
        Outcome.HOLD,
        0.3,
        "because",
        "test",
    )
    (answer,) = _answers(risk_program(rules=(faulty,)), {})
    assert (answer.mode, answer.degraded, answer.outcome) == ("rule_error", True, "review")
    assert json.loads(encode_answer(answer))["rules"] == [{"rule_id": "faulty", "outcome": "error"}]
    on_time, late = _answers(risk_program(), {}, {"occurred_at": "2025-12-01T10:00:00Z"})
    assert (on_time.mode, on_time.degraded) == ("normal", False)
    assert (late.mode, late.degraded) == ("late_event", True)


def test_a_model_reason_names_feature_and_value():
    (answer,) = _answers(risk_program(), {"amount_minor": 90_000})
    (reason,) = [reason for reason in answer.reasons if getattr(reason, "feature", None) == "amount_minor"]
    assert reason.value == 90_000 and reason.source == "model" and "900.00" in reason.text


def test_same_program_gives_the_same_versions():
    first, second = (_answers(risk_program(), {})[0] for _ in range(2))
    assert bytes(first.versions) == bytes(second.versions)
    changed = _answers(risk_program(rules=()), {})[0]
    assert json.loads(bytes(changed.versions))["ruleset"] != json.loads(bytes(first.versions))["ruleset"]


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05.000000Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=-5, minutes=-30))), "2026-01-02T08:34:05.000006Z"),
    ],
)
def test_times_are_rfc_3339_in_utc(moment, text):
    assert rfc3339(moment) == text


# --- decision ids --------------------------------------------------------------------------------------------------------


def test_decision_ids_are_version_7_uuids_that_sort_by_time():
    before, after = new_decision_ids(3), (__import__("time").sleep(0.002), new_decision_ids(3))[1]
    for text in before + after:
        parsed = uuid.UUID(text)
        assert str(parsed) == text and parsed.version == 7 and parsed.variant == uuid.RFC_4122
    assert max(before) < min(after)


def test_decision_ids_do_not_repeat_and_neither_do_event_keys():
    ids = new_decision_ids(20_000)
    assert len(set(ids)) == 20_000 and len({event_key(i) for i in ids}) == 20_000
    assert new_decision_ids(0) == []
    assert np.array([event_key(i) for i in ids], np.uint64).max() < 2**48


def test_reason_without_feature_leaves_the_field_out():
    import msgspec

    assert "feature" not in msgspec.to_builtins(Reason("a", "rule", "b", 1.0, rule_id="r"))
