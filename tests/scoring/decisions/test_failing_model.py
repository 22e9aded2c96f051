"""The model fails: its rules alone decide, the answer says so, and nothing is approved that should not be."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from scoring.decisions.requests import Decided, request_now
from scoring.decisions.score_batch import score_batch
from scoring.decisions.stamps import Stamp
from scoring.engine import Calibration, CostPolicy, Outcome, RiskProgram, Rule
from scoring.features.state import FeatureState
from scoring.models import Decision, ListEntry, OutboxEvent
from scoring.transactions import parse_stored
from tests.scoring.decisions.conftest import payment
from tests.scoring.decisions.programs import risk_program

LARGE = {"op": "gt", "args": [{"feature": "amount_minor"}, {"number": 5_000}]}
BROKEN = {"op": "gt", "args": [{"op": "divide", "args": [{"number": 1}, {"feature": "type.transfer"}]}, {"number": 0}]}
# Every outcome costs nothing: the costs alone approve whatever has a probability.
FREE = CostPolicy(**dict.fromkeys(CostPolicy().to_json(), 0))
AMOUNTS = [100, 1_000, 1_001, 6_000]


class Failing:
    """An executor in the place of the program's own."""

    device_failed = False

    def __init__(self, real, error: Exception | None) -> None:
        self.real, self.error = real, error

    def run(self, x: np.ndarray, memberships, top: int):
        if self.error is not None:
            raise self.error
        scored = self.real.run(x, memberships, top)
        scored.margin[:] = np.nan
        return scored


def failing(program: RiskProgram, error: Exception | None = None) -> RiskProgram:
    """The same program, whose model raises `error`, or gives no number where there is none."""
    object.__setattr__(program, "executor", Failing(program.executor, error))
    return program


def rule(name: str, when: dict, outcome: Outcome) -> Rule:
    return Rule(name, 1, when, None, outcome, 0.5, "because", "test")


RULES = (rule("large", LARGE, Outcome.DECLINE), rule("listed", {"in_list": "blocked"}, Outcome.HOLD))


def transactions(amounts: list[int], first: int = 0) -> list:
    bodies = [
        payment(first + i, timedelta(minutes=first + i), amount_minor=amount, card_id="k1") for i, amount in enumerate(amounts)
    ]
    return [parse_stored(json.dumps(body).encode()) for body in bodies]


def columns(state: FeatureState, amounts: list[int], first: int = 0):
    return state.tokens.columns(transactions(amounts, first), range(first, first + len(amounts)), remember=True)


def parts(rules: tuple[Rule, ...] = RULES, error: Exception | None = None):
    program = risk_program(rules=rules, policy=FREE, list_names=("blocked",))
    rules_alone = replace(program, forest=None, devices=())
    return failing(program, error), rules_alone


@pytest.mark.parametrize("error", [RuntimeError("device lost"), MemoryError(), None], ids=["raises", "no memory", "no number"])
@pytest.mark.parametrize(("limit", "approved"), [(0, 0), (1_000, 2), (10**9, 3)])
def test_rules_alone_decide_and_only_small_payments_are_approved(error, limit, approved):
    state = FeatureState(7)
    program, rules_alone = parts(error=error)
    scored = score_batch(
        state, program, columns(state, AMOUNTS), np.array([[False]] * 4), rules_alone=rules_alone, offline_limit_minor=limit
    )
    expected = [Outcome.APPROVE] * approved + [Outcome.REVIEW] * (3 - approved) + [Outcome.DECLINE]
    assert scored.decided.outcome.tolist() == expected, "the rule declines whatever the limit says"
    assert scored.decided.stamps.tolist() == [Stamp.DEGRADED_MODEL] * 4
    assert scored.model_failed == (error is not None)
    assert np.isnan(scored.decided.probability).all()
    assert scored.decided.risk.tolist() == [0, 0, 0, 0.5]


@pytest.mark.parametrize("error", [RuntimeError("device lost"), None], ids=["raises", "no number"])
def test_a_list_stops_a_small_payment(error):
    state = FeatureState(7)
    program, rules_alone = parts(error=error)
    members = np.array([[True], [False]])
    scored = score_batch(
        state, program, columns(state, [100, 100]), members, rules_alone=rules_alone, offline_limit_minor=10**9
    )
    assert scored.decided.outcome.tolist() == [Outcome.HOLD, Outcome.APPROVE]


def test_a_rule_that_fails_as_well_is_told_beside():
    state = FeatureState(7)
    program, rules_alone = parts((rule("broken", BROKEN, Outcome.DECLINE),), RuntimeError())
    scored = score_batch(state, program, columns(state, [100]), rules_alone=rules_alone, offline_limit_minor=10**9)
    assert scored.decided.stamps.tolist() == [Stamp.DEGRADED_MODEL | Stamp.DEGRADED_RULES]
    assert scored.decided.outcome.tolist() == [Outcome.REVIEW], "it could have stopped the payment"


def test_without_a_model_the_limit_does_not_count():
    """No model was there to fail: that a bank runs on rules alone is no accident to be generous in."""
    state = FeatureState(7)
    _, rules_alone = parts()
    scored = score_batch(state, rules_alone, columns(state, AMOUNTS), offline_limit_minor=10**9)
    assert scored.decided.outcome.tolist() == [Outcome.REVIEW] * 3 + [Outcome.DECLINE]
    assert scored.decided.stamps.tolist() == [Stamp.RULES_ONLY] * 4


def test_only_rows_without_a_number_are_degraded():
    state = FeatureState(7)
    program, rules_alone = parts()
    object.__setattr__(program, "executor", program.executor.real)
    program = replace(program, calibration=Calibration.identity())
    run = program.executor.run

    class Partly:
        device_failed = False
        def run(self, *given):
            scored = run(*given)
            scored.margin[1] = np.nan
            return scored

    object.__setattr__(program, "executor", Partly())
    scored = score_batch(state, program, columns(state, [100, 100, 100]), rules_alone=rules_alone)
    assert scored.decided.stamps.tolist() == [0, Stamp.DEGRADED_MODEL, 0]
    assert scored.decided.outcome.tolist() == [Outcome.APPROVE, Outcome.REVIEW, Outcome.APPROVE]


def test_the_state_is_the_same_as_if_the_model_had_worked():
    rows = []
    for error in (None, RuntimeError()):
        state = FeatureState(7)
        good, alone = parts()
        good = replace(alone, version="good")
        program = parts(error=error)[0] if error else good
        score_batch(state, program, columns(state, AMOUNTS), rules_alone=alone)
        rows.append(score_batch(state, good, columns(state, AMOUNTS, first=10)).rows.x)
        assert state.event_count() > 0
    np.testing.assert_array_equal(rows[0], rows[1])


@pytest.mark.parametrize("with_rules", [False, True])
def test_where_the_rules_fail_too_nothing_is_remembered(with_rules):
    state = FeatureState(7)
    program, rules_alone = parts(error=RuntimeError("model"))
    before = score_batch(state, rules_alone, columns(state, [7], first=50)).rows.x, state.event_count()
    broken = failing(rules_alone, RuntimeError("rules")) if with_rules else None
    with pytest.raises(RuntimeError, match="rules" if with_rules else "model"):
        score_batch(state, program, columns(state, AMOUNTS, first=60), rules_alone=broken)
    assert state.event_count() == before[1]


# --- through the engine --------------------------------------------------------------------------------------------------


def decide(engine, *bodies: dict) -> list[dict]:
    results = engine.decide([request_now(json.dumps(body).encode()) for body in bodies])
    assert all(isinstance(result, Decided) for result in results), results
    return [json.loads(result.body) for result in results]


@pytest.mark.any_database
@pytest.mark.django_db
@pytest.mark.parametrize("error", [RuntimeError("device lost"), None], ids=["raises", "no number"])
def test_an_engine_goes_on_with_its_rules_and_says_so(make_champion, fresh_engine, settings, error):
    settings.OFFLINE_LIMIT_MINOR = 1_000
    ListEntry.objects.create(list_name="blocked_cards", value="card-stolen", created_by="test")
    make_champion("v1")
    engine = fresh_engine()
    (fine,) = decide(engine, payment(0))
    program = engine._programs.live.program
    working = program.executor
    failing(program, error)
    bodies = [payment(1, amount_minor=900), payment(2, amount_minor=90_000), payment(3, amount_minor=1, card_id="card-stolen")]
    small, large, stolen = decide(engine, *bodies)
    assert [of["outcome"] for of in (small, large, stolen)] == ["approve", "review", "decline"]
    for of in (small, large, stolen):
        assert (of["mode"], of["stamps"], of["degraded"], of["probability"]) == ("degraded_model", ["degraded_model"], True, None)
        assert of["versions"]["program"] == of["versions"]["model"] == "v1"
        assert "policy.no_probability" in [reason["code"] for reason in of["reasons"]]
    rows = Decision.objects.filter(mode="degraded_model", degraded=True, probability=None, margin=None)
    assert rows.count() == 3 and set(rows.values_list("stamps", flat=True)) == {int(Stamp.DEGRADED_MODEL)}
    assert OutboxEvent.objects.count() == 2 + (fine["outcome"] != "approve")
    assert engine.counters.degraded == 3
    object.__setattr__(program, "executor", working)
    (again,) = decide(engine, payment(4))
    assert (again["mode"], again["stamps"], again["degraded"]) == ("normal", [], False)
    assert decide(engine, *bodies) == [small, large, stolen], "what was sent stays"


@pytest.mark.django_db
def test_an_answer_names_every_stamp(make_champion, fresh_engine):
    make_champion("v1")
    engine = fresh_engine()
    decide(engine, payment(1, timedelta(days=30)))
    failing(engine._programs.live.program, RuntimeError())
    (late,) = decide(engine, payment(2))
    assert (late["mode"], late["stamps"]) == ("degraded_model", ["degraded_model", "late_event"])
    (history,) = engine.decide([request_now(json.dumps(payment(3)).encode(), backfill=True)])
    told = json.loads(history.body)
    assert told["stamps"] == ["degraded_model", "late_event", "backfill"] and told["mode"] == "degraded_model"
