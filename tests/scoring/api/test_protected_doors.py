"""Limits, breakers and watches at both doors of the decision path, and what its metrics and log say of them."""

from __future__ import annotations

import json
import logging
from datetime import timedelta

import pytest
from django.db import OperationalError

from riskapp.log_format import JsonFormatter
from scoring.decisions import engine as engine_module
from scoring.decisions.service import engine_service
from scoring.models import Decision
from scoring.protection import guards as guards_module
from scoring.protection.disk_watch import Space
from scoring.protection.guards import guards
from tests.scoring.api.conftest import payment
from tests.scoring.api.documents import assert_problem
from tests.scoring.api.test_operations import metrics

pytestmark = pytest.mark.django_db(transaction=True)
URL, BATCH = "/api/v1/decisions", "/api/v1/decisions/batch"


@pytest.fixture
def slow(settings):
    """Five decisions at once, and no more during a test."""
    settings.RATE_LIMIT_PER_SECOND, settings.RATE_LIMIT_BURST = 0.001, 5


@pytest.mark.any_database
def test_a_key_that_decides_too_fast_is_refused_before_anything_is_read(slow, api):
    answers = [api.post(URL, payment(i)) for i in range(6)]
    assert [answer.status for answer in answers] == [200] * 5 + [429]
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["4", "3", "2", "1", "0", "0"]
    assert_problem(api.post(URL, b"{"), 429, "rate_limited")
    assert int(answers[-1].headers["retry-after"]) > 900 and "retry-after" not in answers[0].headers
    assert Decision.objects.count() == 5


def test_a_batch_counts_as_its_decisions(slow, api):
    first = api.post(BATCH, [payment(i) for i in range(4)])
    assert first.status == 200 and first.headers["ratelimit-remaining"] == "1"
    assert_problem(api.post(BATCH, [payment(i) for i in range(4, 8)]), 429, "rate_limited")
    assert Decision.objects.count() == 4


def test_without_a_limit_there_are_no_such_headers(api):
    assert not [name for name in api.post(URL, payment(1)).headers if name.startswith("ratelimit")]


def test_a_full_disk_refuses_before_it_is_met(api):
    api.post(URL, payment(1))
    disk = guards().disk
    disk._measure, disk._next = (lambda path: Space(1 << 40, 1 << 20)), 0.0
    disk.look()
    refused = api.post(URL, payment(2))
    assert_problem(refused, 503, "storage_full")
    assert refused.headers["retry-after"] == "30"
    assert_problem(api.post(BATCH, [payment(3), payment(4)]), 503, "storage_full")
    assert Decision.objects.count() == 1
    assert engine_service().engine.counters.shed["storage"] == 3
    disk._measure, disk._next = (lambda path: Space(1 << 40, 1 << 39)), 0.0
    disk.look()
    assert api.post(URL, payment(2)).status == 200


def test_a_database_that_fails_is_left_alone_and_comes_back(api, monkeypatch):
    api.post(URL, payment(1))
    calls = []

    def fail(*arguments) -> None:
        calls.append(arguments)
        raise OperationalError("the server closed the connection")

    with monkeypatch.context() as outage:
        outage.setattr(engine_module, "commit_decisions", fail)
        outage.setattr(engine_module, "find_answers", fail)
        for i in range(5):
            assert_problem(api.post(URL, payment(10 + i)), 503, "engine_unavailable")
        asked = len(calls)
        for i in range(20):
            refused = api.post(URL, payment(20 + i))
            assert_problem(refused, 503, "dependency_unavailable")
            assert refused.headers["retry-after"] == "1"
        assert len(calls) == asked, "nobody waited for it, and it was not asked"
    assert engine_service().engine.counters.shed["breaker"] == 20
    breaker = guards().database
    for i in range(5):
        breaker._next_probe = 0.0
        assert api.post(URL, payment(10 + i)).status == 200
    assert breaker.state == 0 and Decision.objects.count() == 6


def test_a_commit_that_hangs_refuses_the_others(api):
    api.post(URL, payment(1))
    breaker = guards().database
    breaker.under_way()
    assert api.post(URL, payment(2)).status == 200, "it may take a moment"
    breaker.under_way()
    breaker._under_way -= 6
    assert_problem(api.post(URL, payment(3)), 503, "dependency_unavailable")
    breaker.record(True)
    assert api.post(URL, payment(3)).status == 200


def test_too_much_at_once_is_refused(settings, asgi_api):
    settings.CONCURRENCY_LIMIT = 3
    guards_module.discard_guards()
    assert guards().concurrency.enter(2)
    assert asgi_api.post(URL, payment(1)).status == 200
    assert guards().concurrency.enter() and guards().concurrency.in_flight == 3
    assert_problem(asgi_api.post(URL, payment(2)), 503, "too_many_in_flight")
    assert_problem(asgi_api.post(BATCH, [payment(2), payment(3)]), 503, "too_many_in_flight")
    assert engine_service().engine.counters.shed["concurrency"] == 2 and guards().concurrency.in_flight == 3


@pytest.mark.any_database
def test_a_clock_that_was_set_is_in_the_answer(api):
    api.post(URL, payment(1))
    clock = guards().clock
    clock._offset -= 3600
    clock.look()
    told = api.post(URL, payment(2)).json
    assert "clock_step" in told["stamps"]
    clock._stamp_until = None
    assert "clock_step" not in api.post(URL, payment(3, timedelta(minutes=1))).json["stamps"]
    assert engine_service().engine.counters.stamps[7] == 1


@pytest.mark.any_database
def test_every_stage_of_a_batch_is_timed(asgi_api, make_champion):
    make_champion()
    asgi_api.post(URL, payment(1))
    asgi_api.post(BATCH, [payment(1), payment(2), payment(3)])
    found = metrics(asgi_api)
    rows = {
        name.split("stage=")[1].split(",")[0]: (value, name)
        for name, value in found.items()
        if name.startswith("risk_inference_rows_total")
    }
    assert {stage: value for stage, (value, _) in rows.items()} == {
        "parse": 4, "idempotency": 4 + 3, "features": 3, "program": 3, "decide": 3, "render": 3, "commit": 3, "deliver": 4,
    }  # fmt: skip
    assert "variant=full" in rows["program"][1] and "variant=host" in rows["features"][1]
    sums = {name: value for name, value in found.items() if name.startswith("risk_inference_duration_seconds_sum")}
    assert len(sums) == 8 and all(0 < value < 5 for value in sums.values())
    assert found["risk_commit_duration_seconds_count"] == found["risk_batch_rows_count"] == 2
    assert found["risk_queue_age_seconds_count"] == found["risk_batch_rows_sum"] == 4
    assert found["risk_stamped_total{stamp=rules_only}"] == 0


def test_decisions_have_lines_where_they_are_wanted(api, caplog, settings):
    settings.LOG_DECISIONS = True
    with caplog.at_level(logging.INFO, logger="scoring.requests"):
        one = api.post(URL, payment(1), X_Request_ID="call-8").json
        many = api.post(BATCH, [payment(1), {}, payment(2)]).json
    lines = [json.loads(JsonFormatter().format(r)) for r in caplog.records if r.getMessage() == "decided"]
    told = [one, *(item["decision"] for item in many["results"] if item["status"] == 200)]
    assert [line["decision_id"] for line in lines] == [decision["decision_id"] for decision in told]
    assert {line["outcome"] for line in lines} == {decision["outcome"] for decision in told}
    assert lines[0]["request_id"] == "call-8" and 0 < lines[0]["duration_ms"] < 30_000


def test_refusals_have_a_line_and_decisions_none(asgi_api, caplog):
    with caplog.at_level(logging.INFO, logger="scoring.requests"):
        asgi_api.post(URL, payment(1))
        refused = asgi_api.post(URL, b"{", X_Request_ID="call-7")
    (record,) = [record for record in caplog.records if record.name == "scoring.requests"]
    line = json.loads(JsonFormatter().format(record))
    assert (line["status"], line["code"], line["request_id"]) == (400, refused.json["code"], "call-7")
    assert line["door"] in ("fast", "drf") and 0 < line["duration_ms"] < 30_000
