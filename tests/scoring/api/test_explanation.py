"""GET /api/v1/decisions/{decision_id}/explanation."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading

import pytest

from scoring.decisions.released_programs import released_programs
from scoring.features.schema import current_schema
from tests.scoring.api.conftest import payment
from tests.scoring.api.documents import assert_conforms, assert_problem

pytestmark = [pytest.mark.any_database, pytest.mark.django_db(transaction=True)]
URL = "/api/v1/decisions"


@pytest.fixture(autouse=True)
def nothing_is_held():
    released_programs.forget()
    yield
    released_programs.forget()


def explained(api, decision: dict):
    return api.get(f"{URL}/{decision['decision_id']}/explanation")


def test_a_decision_of_a_model_is_explained(api, make_champion):
    make_champion("v1")
    decision = api.post(URL, payment(1, amount_minor=60_000)).json
    answer = explained(api, decision)
    assert answer.status == 200
    body = answer.json
    assert_conforms(body, "ExplanationBody")
    assert_conforms(body["features"][0], "ExplainedFeature")
    assert (body["decision_id"], body["program_version"]) == (decision["decision_id"], "v1")
    assert body["bias"] + sum(of["contribution"] for of in body["features"]) == pytest.approx(body["margin"], abs=1e-6)
    assert body["decided"]["margin"] == pytest.approx(body["margin"], abs=1e-5) and body["decided"]["agrees"]
    assert body["decided"]["probability"] == pytest.approx(decision["probability"], abs=1e-5)
    assert body["feature_schema"] == current_schema().version
    features = {of["name"]: of for of in body["features"]}
    assert set(features) == set(current_schema().names) and features["amount_minor"]["value"] == 60_000
    assert features["amount_minor"]["contribution"] > 0.1
    # What the answer named are the fast path's contributions.
    reasons = {reason["feature"]: reason["weight"] for reason in decision["reasons"] if reason["source"] == "model"}
    assert reasons and {name for name, of in features.items() if of["is_reason"]} == set(reasons)
    for name, weight in reasons.items():
        assert features[name]["path_contribution"] == pytest.approx(weight, abs=1e-4)


def test_the_same_question_gets_the_same_bytes(api, make_champion):
    make_champion("v1")
    decision = api.post(URL, payment(1)).json
    assert explained(api, decision).body == explained(api, decision).body


def test_a_decision_of_rules_alone_is_told_apart(api):
    problem = assert_problem(explained(api, api.post(URL, payment(1)).json), 422, "nothing_to_explain")
    assert "rules alone" in problem["detail"]


def test_a_program_that_is_gone(api, make_champion, settings):
    make_champion("v1")
    decision = api.post(URL, payment(1)).json
    shutil.rmtree(settings.ARTIFACT_DIR / "v1")
    problem = assert_problem(explained(api, decision), 409, "explanation_unavailable")
    assert "v1" in problem["detail"] and "Restore" in problem["detail"] and not problem["retryable"]


@pytest.mark.parametrize("decision_id", ["00000000-0000-0000-0000-000000000000", "x", "%00"])
def test_an_unknown_decision(api, decision_id):
    assert_problem(api.get(f"{URL}/{decision_id}/explanation"), 404, "decision_not_found")


def test_it_can_only_be_read(api):
    answer = api.post(f"{URL}/x/explanation", {})
    assert_problem(answer, 405, "method_not_allowed")


def test_decisions_and_other_questions_go_on_while_a_program_is_loaded(asgi_api, make_champion, monkeypatch):
    make_champion("v1")
    decision = asgi_api.post(URL, payment(1)).json
    began, may_go_on = threading.Event(), threading.Event()
    real = released_programs.get

    def slow(release):
        began.set()
        assert may_go_on.wait(20)
        return real(release)

    monkeypatch.setattr(released_programs, "get", slow)

    async def meanwhile():
        explanation = asyncio.ensure_future(asgi_api.conversation("GET", f"{URL}/{decision['decision_id']}/explanation"))
        assert await asyncio.to_thread(began.wait, 20)
        body = json.dumps(payment(2)).encode()
        decided = await asgi_api.conversation("POST", URL, body, {"content-type": "application/json"})
        listed = await asgi_api.conversation("GET", URL)
        assert not explanation.done()
        may_go_on.set()
        return decided, listed, await explanation

    assert [answer.status for answer in asyncio.run(meanwhile())] == [200, 200, 200]
