"""An answer that is read back is the one that was sent, byte for byte, whatever happened since."""

from __future__ import annotations

import json
import random
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scoring.stored_answers
from scoring.decisions.requests import Decided, request_now
from scoring.errors import AnswerUnreadable
from scoring.ledger import find_answers
from scoring.models import AnswerForm, Decision, ListEntry, OutboxEvent, ProgramRelease
from scoring.stored_answers import NEEDED, stored_answer, stored_answers
from tests.factories import build_decision, make_decision
from tests.scoring.decisions.conftest import payment
from tests.scoring.decisions.programs import builtin_rules, risk_program
from tests.strategies import cut, cuts, examples, transactions

pytestmark = [pytest.mark.any_database, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def nothing_is_remembered():
    scoring.stored_answers._form.cache_clear()
    yield
    scoring.stored_answers._form.cache_clear()


def decide(engine, bodies: list[dict], **options) -> dict[str, bytes]:
    """Return transaction id -> what was sent."""
    results = engine.decide([request_now(json.dumps(body).encode(), **options) for body in bodies])
    assert all(isinstance(result, Decided) for result in results), results
    return {body["transaction_id"]: result.body for body, result in zip(bodies, results, strict=True)}


def read_back() -> dict[str, bytes]:
    rows = list(Decision.objects.all())
    random.Random(len(rows)).shuffle(rows)
    return {row.transaction_id: answer for row, answer in zip(rows, stored_answers(rows), strict=True)}


@examples(12)
@given(bodies=transactions(min_size=4, max_size=30), sizes=cuts, backfill=st.booleans())
def test_random_histories_without_a_model(fresh_engine, bodies, sizes, backfill):
    for table in (OutboxEvent, Decision):
        table.objects.all().delete()
    engine, sent = fresh_engine(), {}
    for part in cut(bodies, sizes):
        sent |= decide(engine, part, backfill=backfill)
    assert read_back() == sent


def test_several_programs_their_retirement_and_a_restart(fresh_engine, make_champion, settings):
    chance, sent = random.Random(11), {}
    ListEntry.objects.create(list_name="blocked_cards", value="card-3", created_by="test")
    engine = fresh_engine()
    programs = [
        None,
        risk_program(version="v1"),
        risk_program(version="v2", rules=builtin_rules()[:3]),
        risk_program(version="v3", forest=False),
        risk_program(version="v4", rules=()),
    ]
    for number, program in enumerate(programs):
        if program is not None:
            make_champion(program.version, program)
            engine.refresh()
        for _ in range(3):
            bodies = [
                payment(
                    f"{len(sent)}-{i}",
                    amount_minor=chance.choice([0, 1, 2_500, 10**6, 10**12]),
                    card_id=f"card-{chance.randrange(5)}",
                    country=chance.choice([None, "DE", "NL"]),
                    latitude=chance.choice([None, 52.5, -1e-7]),
                    channel=chance.choice(["pos", "ecom"]),
                )
                for i in range(chance.randrange(1, 20))
            ]
            sent |= decide(engine, bodies)
        mixed = make_decision(form_id=None)
        sent[mixed.transaction_id] = mixed.response.encode()
        assert len({json.loads(answer)["versions"]["program"] for answer in sent.values()}) >= number + 1
    assert read_back() == sent
    assert AnswerForm.objects.count() == len(programs)

    ProgramRelease.objects.update(state="retired")
    shutil.rmtree(settings.ARTIFACT_DIR)
    scoring.stored_answers._form.cache_clear()
    engine = fresh_engine()
    assert read_back() == sent
    found = find_answers(list(sent))
    assert {name: of.body for name, of in found.items()} == sent and not any(of.damage for of in found.values())
    one_by_one = Decision.objects.values_list(*NEEDED, named=True)
    assert {row.transaction_id: stored_answer(row) for row in one_by_one} == sent


def test_a_replay_after_a_restart_is_what_was_sent(fresh_engine, make_champion):
    make_champion("v1")
    bodies = [payment(i, amount_minor=i * 997) for i in range(20)]
    sent = decide(fresh_engine(), bodies)
    make_champion("v2")
    engine = fresh_engine()
    again = engine.decide([request_now(json.dumps(body).encode()) for body in bodies])
    assert [result.body for result in again] == list(sent.values()) and all(result.replayed for result in again)


def test_rows_that_keep_their_answer_need_no_form():
    row = build_decision()
    assert row.form_id is None and stored_answer(row) == row.response.encode()
    assert stored_answers([]) == []


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        ({"features": b"\x00\x00\x80\x3f" * 3}, "is no packed row of version 1"),
        ({"features": b""}, "packed row 0"),
        ({"evidence": b"\x00" * 13}, "evidence of 13 bytes does not belong"),
        ({"form_id": 1}, "does not exist"),
    ],
)
def test_a_damaged_row_is_an_error_of_its_own_transaction_alone(fresh_engine, damage, cause):
    bodies = [payment(i) for i in range(4)]
    engine = fresh_engine()
    sent = decide(engine, bodies)
    hurt = Decision.objects.get(transaction_id="tx-2")
    Decision.objects.filter(pk=hurt.pk).update(**damage)
    rows = list(Decision.objects.order_by("seq"))
    with pytest.raises(AnswerUnreadable, match=f"decision {hurt.decision_id} is not readable: .*{cause}"):
        stored_answers(rows)
    results = engine.decide([request_now(json.dumps(body).encode()) for body in [*bodies, payment(9), payment(2, mcc="1234")]])
    assert [getattr(of, "body", None) for of in results[:4]] == [sent[f"tx-{i}"] if i != 2 else None for i in range(4)]
    assert isinstance(results[2], AnswerUnreadable) and not results[2].retryable
    assert not results[4].replayed and results[5].status == 409


def test_the_top_values_are_those_of_the_row(fresh_engine, make_champion):
    """What an answer says of a feature is read from the packed row, to the last bit of its float32."""
    make_champion("v1")
    (answer,) = decide(fresh_engine(), [payment(1, amount_minor=98_765)]).values()
    told = {reason["feature"]: reason["value"] for reason in json.loads(answer)["reasons"] if reason["source"] == "model"}
    assert np.float32(told["amount_minor"]) == np.float32(98_765)
