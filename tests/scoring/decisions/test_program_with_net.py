"""A program with a net in the engine: its answers name it, come back byte for byte, and say where time was too short for it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from scoring.decisions.answer_form import NET_REASON
from scoring.decisions.requests import request_now
from scoring.decisions.schedule import REDUCED, UNIT, VARIANT, new_scheduler, tell_saving
from scoring.decisions.score_batch import score_batch
from scoring.decisions.stamps import Stamp
from scoring.engine import Priority
from scoring.features.state import FeatureState
from scoring.models import Decision
from scoring.selectors.explanation import explain_decision
from scoring.stored_answers import stored_answers
from tests.scoring.decisions.conftest import payment
from tests.scoring.decisions.programs import program_with_net, risk_program
from tests.scoring.decisions.test_failing_model import columns

AMOUNTS = [100, 9_000, 40_000, 250_000]


def test_a_reduced_batch_is_scored_without_the_net_and_stamped():
    program = program_with_net()
    states = FeatureState(7), FeatureState(7)
    whole, reduced = (score_batch(of, program, columns(of, AMOUNTS), reduced=of is states[1]) for of in states)
    assert whole.decided.stamps.tolist() == [0] * 4 and not whole.reduced
    assert reduced.decided.stamps.tolist() == [Stamp.REDUCED_PROGRAM] * 4 and reduced.reduced
    assert (whole.scored.margin != reduced.scored.margin).all()
    forest = risk_program()
    np.testing.assert_allclose(reduced.scored.margin, forest.score(reduced.rows.x).margin, atol=1e-5)


def test_a_program_without_a_net_has_nothing_to_leave_out():
    state = FeatureState(7)
    scored = score_batch(state, risk_program(), columns(state, AMOUNTS), reduced=True)
    assert scored.decided.stamps.tolist() == [0] * 4 and not scored.reduced


def answers_of(engine, first: int = 0, reduced: bool = False) -> list[dict]:
    requests = [
        request_now(json.dumps(payment(first + i, amount_minor=amount)).encode()) for i, amount in enumerate(AMOUNTS)
    ]
    work = engine.begin(requests, reduced)
    engine.prepare(work)
    engine.commit(work)
    assert engine.finish(work, None)
    return [json.loads(result.body) for result in work.results]


@pytest.mark.django_db
@pytest.mark.any_database
def test_answers_name_the_net_and_come_back_as_they_were_sent(fresh_engine, make_champion):
    make_champion("net-1", program_with_net(unit=2e-6))
    engine = fresh_engine()
    assert engine.program_version == "net-1" and engine.saved_row_us >= 0
    sent = answers_of(engine) + answers_of(engine, 10, reduced=True)
    named = [reason for answer in sent for reason in answer["reasons"] if reason["code"] == f"model.{NET_REASON['name']}"]
    assert named and all(reason["text"] == NET_REASON["text"][0].upper() + NET_REASON["text"][1:] for reason in named)
    assert [answer["mode"] for answer in sent] == ["normal"] * 4 + ["reduced_program"] * 4
    assert not any(reason in named for answer in sent[4:] for reason in answer["reasons"])
    rows = list(Decision.objects.order_by("pk"))
    assert {json.loads(body)["decision_id"]: json.loads(body) for body in stored_answers(rows)} == {
        answer["decision_id"]: answer for answer in sent
    }


@pytest.mark.django_db
@pytest.mark.any_database
def test_an_explanation_has_the_net_as_one_entry(fresh_engine, make_champion):
    make_champion("net-1", program_with_net())
    engine = fresh_engine()
    for answer in answers_of(engine):
        found = explain_decision(answer["decision_id"])
        assert found.agrees
        assert found.bias + sum(feature.exact for feature in found.features) == pytest.approx(found.margin, abs=1e-6)
        (of_net,) = [feature for feature in found.features if feature.name == NET_REASON["name"]]
        assert of_net.value is None and of_net.exact == of_net.path


def turned(saved_row_us: float) -> str:
    """Return the variant that a long queue before a near deadline gets, where the whole program does not make it."""
    scheduler = new_scheduler()
    tell_saving(scheduler, saved_row_us)
    for i in range(12):  # 20 us a row
        batch = 100 + i
        scheduler.queue.put(Priority.LIVE, None, batch, i * 1e4, 1e9)
        dispatch = scheduler.next(i * 1e4)
        scheduler.start(dispatch, i * 1e4)
        scheduler.completed(dispatch, i * 1e4, i * 1e4 + 100 + 20 * batch)
    scheduler.queue.put(Priority.LIVE, None, 2_000, 1e6, 1e6 + 45_000)
    return scheduler.next(1e6).variant


def test_the_scheduler_turns_to_the_reduced_program_only_where_that_saves_something():
    assert turned(0.0) == turned(0.1) == VARIANT
    assert turned(6.0) == REDUCED


def test_both_programs_teach_one_line_of_costs():
    scheduler = new_scheduler()
    tell_saving(scheduler, 6.0)
    whole, reduced = (scheduler.costs.line(UNIT, variant) for variant in (VARIANT, REDUCED))
    for rows in (10, 200, 50, 400) * 20:
        reduced.observe(rows, 100 + 14 * rows)
    assert whole.row_us == pytest.approx(20, rel=0.05) and reduced.row_us == pytest.approx(14, rel=0.07)
    assert reduced.batches == 80 and reduced.tail == whole.tail and reduced.row_p99_us == reduced.row_us * whole.tail
