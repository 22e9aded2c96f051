"""/livez, /readyz and /metrics."""

from __future__ import annotations

import re
import threading
import time
from datetime import timedelta

import pytest
from django.db import DatabaseError
from prometheus_client.parser import text_string_to_metric_families

import riskapp.asgi  # noqa: F401  - takes engine_service by name, and so do the views it finds: not while a test has replaced it
import scoring.decisions.service as service_module
from scoring.decisions.service import EngineService, engine_service
from scoring.models import EngineSample
from tests.factories import make_analyst
from tests.scoring.api.clients import WAYS
from tests.scoring.api.conftest import payment
from tests.scoring.api.documents import assert_problem

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/api/v1/decisions"


def metrics(api) -> dict[str, float]:
    """Return name, with labels in braces, -> value of every sample."""
    answer = api.get("/metrics")
    assert answer.status == 200 and answer.content_type.startswith("text/plain")
    samples = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        assert family.documentation and family.type != "unknown", family.name
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return samples


def test_alive_whatever_else_is_wrong(api, monkeypatch):
    monkeypatch.setattr(service_module, "engine_service", lambda: 1 / 0)
    answer = api.get("/livez")
    assert answer.status == 200 and answer.json == {"status": "alive"}


@pytest.mark.any_database
def test_ready_once_the_engine_is_built_and_the_database_answers(api):
    api.post(URL, payment(1))
    answer = api.get("/readyz")
    assert answer.status == 200
    assert answer.json["status"] == "ready" and answer.json["checks"] == {"engine": True, "database": True}
    assert answer.json["program"].startswith("rules-")


def test_not_ready_while_the_engine_is_being_built(api, monkeypatch):
    allowed = threading.Event()
    thread = EngineService(build=lambda: allowed.wait(20) and 1 / 0)
    monkeypatch.setattr(service_module, "_service", thread)
    answer = api.get("/readyz")
    assert answer.status == 503
    assert answer.json == {"status": "not_ready", "checks": {"engine": False, "database": True}, "program": None}
    assert metrics(api) == {"risk_engine_up": 0}
    allowed.set()
    thread._thread.join(20)


def test_not_ready_without_a_database(api, monkeypatch):
    from scoring.api.views import operations

    class Gone:
        def cursor(self):
            raise DatabaseError("gone")

        def close(self):
            pass

    api.post(URL, payment(1))
    monkeypatch.setattr(operations, "connection", Gone())
    answer = api.get("/readyz")
    assert answer.status == 503 and answer.json["checks"] == {"engine": True, "database": False}


@pytest.mark.any_database
def test_counters_tell_what_happened(asgi_api):
    asgi_api.post(URL, payment(1))
    before = metrics(asgi_api)
    asgi_api.post(URL, payment(2, timedelta(minutes=1)))
    asgi_api.post(URL, payment(2, timedelta(minutes=1)))  # repeated
    asgi_api.post(URL, payment(2, amount_minor=1))  # another body
    asgi_api.post(URL, {"nonsense": True})
    asgi_api.post(f"{URL}/batch", [payment(3), payment(4), {}])
    after = metrics(asgi_api)
    counted = ("risk_decisions", "risk_replays", "risk_errors", "risk_refused", "risk_degraded_total", "risk_batches", "risk_l",
               "risk_feature_events")  # fmt: skip
    grown = {
        name: value - before[name] for name, value in after.items() if name.startswith(counted) and value != before.get(name)
    }
    assert grown.pop("risk_feature_events") > 0
    ladder = [name for name in grown if name.startswith("risk_ladder_batches")]
    assert sum(grown.pop(name) for name in ladder) == 2, "two batches had something new to score"
    grown = {name: value for name, value in grown.items() if not name.startswith("risk_ladder")}  # shapes that came often
    assert grown == {
        "risk_decisions_total{outcome=review}": 3,
        "risk_replays_total": 1,
        "risk_errors_total": 1,
        "risk_refused_total": 2,
        "risk_degraded_total": 3,
        "risk_batches_total": 4,
    }, "one request and one item of a batch were refused, a conflict is an error of the engine"


def test_the_histogram_adds_up(asgi_api):
    for i in range(5):
        asgi_api.post(URL, payment(i))
    found = metrics(asgi_api)
    buckets = [
        (float(re.search(r"le=([^,}]+)", name)[1]), value)
        for name, value in found.items()
        if name.startswith("risk_request_duration_seconds_bucket")
    ]
    assert [bound for bound, _ in buckets] == sorted(bound for bound, _ in buckets) and buckets[-1][0] == float("inf")
    assert [value for _, value in buckets] == sorted(value for _, value in buckets)
    assert buckets[-1][1] == found["risk_request_duration_seconds_count{door=fast,status=2xx}"] == 5
    assert 0 < found["risk_request_duration_seconds_sum{door=fast,status=2xx}"] < 5 * 10


def test_gauges_of_the_state(asgi_api):
    asgi_api.post(URL, payment(1))
    found = metrics(asgi_api)
    assert found["risk_engine_up"] == 1 and found["risk_queue_depth"] == 0
    assert found["risk_feature_events"] > 0 and found["risk_feature_bytes"] > 0
    (program,) = [name for name in found if name.startswith("risk_program_info")]
    assert "version=rules-" in program and found[program] == 1


@pytest.mark.parametrize("way", sorted(WAYS))
def test_a_person_who_is_logged_in_may_look(ledger, client, way):
    make_analyst("alice")
    client.login(username="alice", password="correct horse battery staple")
    session = client.cookies["sessionid"].value
    answer = WAYS[way]().get("/metrics", cookie=f"sessionid={session}")
    assert answer.status == 200
    assert_problem(WAYS[way]().get("/metrics", cookie="sessionid=wrong"), 401, "authentication_required")


def test_a_session_opens_no_other_address(ledger, client):
    """Only keys decide: a foreign page must not be able to use a person's session."""
    make_analyst("alice")
    client.login(username="alice", password="correct horse battery staple")
    cookie = f"sessionid={client.cookies['sessionid'].value}"
    for way in WAYS.values():
        assert_problem(way().post(URL, payment(1), cookie=cookie), 401, "authentication_required")
        assert_problem(way().post("/api/v1/labels", {}, cookie=cookie), 401, "authentication_required")
        assert_problem(way().get(URL, cookie=cookie), 401, "authentication_required")


@pytest.mark.any_database
def test_a_sample_of_the_last_second_reaches_the_live_page(asgi_api, settings):
    settings.ENGINE_REFRESH_SECONDS = 0.05
    for i in range(3):
        asgi_api.post(URL, payment(i))
    engine = engine_service().engine
    engine_service().call(lambda of: setattr(of, "_last_sample", of._last_sample - 1.5)).result(10)
    engine_service().call(lambda of: of.refresh()).result(10)
    # The housekeeping thread may have been quicker, and be about to store it.
    deadline = time.monotonic() + 10
    while not EngineSample.objects.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    sample = EngineSample.objects.get()
    assert (sample.decisions, sample.outcomes, sample.process) == (3, {"review": 3}, engine.counters.process)
    assert sum(sample.latency_counts) == 3 and 0 < sample.seconds < 60
