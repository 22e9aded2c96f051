"""A new program takes over between two batches, under load, and one that fails its golden rows never does."""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import xgboost
from django.db import connections, transaction

from inference_core.golden import GoldenRows
from inference_core.runtime import CostLine, cpu, readiness
from kernels.score_rows import ScoredRows
from scoring.decisions.engine import DecisionEngine
from scoring.decisions.program_source import ProgramSource
from scoring.decisions.requests import Decided, request_now
from scoring.decisions.runtime import discard_engine
from scoring.decisions.service import EngineService
from scoring.engine import Forest, RiskProgram, RuleOutcome, load_or_create_signing_key, save_program
from scoring.feature_rows import stored_row
from scoring.features.schema import current_schema
from scoring.metrics import prometheus_text
from scoring.models import Decision, ProgramRelease
from tests.scoring.decisions.conftest import make_builtin_rules_live, payment
from tests.scoring.decisions.programs import builtin_rules, model_ubj, risk_program

SWAPS = 500


@functools.cache
def other_model() -> bytes:
    """A booster that looks at the amount the other way round."""
    schema = current_schema()
    rng = np.random.default_rng(5)
    x = np.full((400, schema.width), np.nan, np.float32)
    x[:, schema.index("amount_minor")] = rng.exponential(5_000, 400)
    matrix = xgboost.DMatrix(x, (x[:, schema.index("amount_minor")] < 3_000).astype(int), feature_names=list(schema.names))
    return bytes(xgboost.train({"objective": "binary:logistic", "max_depth": 3, "nthread": 1}, matrix, 7).save_raw("ubj"))


# --- under load ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_releases(settings, tmp_path, transactional_db) -> Iterator[dict[str, RiskProgram]]:
    """Two releases with other forests and other rules, of which "first" is the champion."""
    settings.ARTIFACT_DIR, settings.VERIFY_KEY_FILE = tmp_path / "artifacts", tmp_path / "verify.pem"
    settings.ENGINE_REFRESH_SECONDS = 0.005
    make_builtin_rules_live()
    key = load_or_create_signing_key(tmp_path / "sign.pem", settings.VERIFY_KEY_FILE)
    schema = current_schema()
    models = {"first": model_ubj(), "second": other_model()}
    rules = {"first": builtin_rules()[:6], "second": builtin_rules()[4:9]}
    programs = {}
    for version, model in models.items():
        forest = Forest.from_xgboost(model, schema.names)
        programs[version] = replace(risk_program(version=version, rules=rules[version]), forest=forest)
        digest = save_program(programs[version], model, settings.ARTIFACT_DIR / version, key, {})
        state = "champion" if version == "first" else "retired"
        ProgramRelease.objects.create(version=version, artifact=version, manifest_sha256=digest, state=state)
    yield programs
    discard_engine()


def make_champion_of(version: str) -> None:
    with transaction.atomic():
        ProgramRelease.objects.exclude(version=version).update(state="retired")
        ProgramRelease.objects.filter(version=version).update(state="champion")


class Load:
    """Sends groups of payments to an engine thread, the next one as soon as the last is answered."""

    def __init__(self, thread: EngineService) -> None:
        self.results: list = []
        self._engine_thread, self._ends = thread, threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._send()))
        self._thread.start()

    async def _send(self) -> None:
        number, rng = 0, np.random.default_rng(1)
        while not self._ends.is_set():
            size = int(rng.integers(1, 7))
            bodies = [_body(number + i) for i in range(size)]
            number += size
            requests = [request_now(json.dumps(body).encode()) for body in bodies]
            self.results += await self._engine_thread.submit(requests)

    def end(self) -> None:
        self._ends.set()
        self._thread.join(30)


def _body(number: int) -> dict:
    after = timedelta(seconds=number)
    return payment(
        number, after, amount_minor=100 + number * 7_919 % 20_000, card_id=f"card-{number % 50}", customer_id=f"c-{number % 50}"
    )


def test_five_hundred_swaps_under_load_fail_no_answer_and_mix_no_programs(two_releases):
    thread = EngineService(started_engine)
    alive: list[weakref.ref] = []
    try:
        _wait_until(lambda: thread.engine is not None and thread.engine.program_version == "first")
        load = Load(thread)
        try:
            for swap in range(SWAPS):
                version = ("second", "first")[swap % 2]
                make_champion_of(version)
                _wait_until(lambda version=version: thread.engine.program_version == version)
                program = thread.engine._programs.current
                alive += [weakref.ref(program), weakref.ref(program.executor), weakref.ref(program.plan.tables)]
                del program
        finally:
            load.end()
        assert thread.engine.program_swaps == SWAPS + 1 and thread.engine.refused_release is None
        gc.collect()
        assert sum(ref() is not None for ref in alive) <= 3, "only the last program, its executor and its tables"
    finally:
        thread.stop()
        connections.close_all()
    assert len(load.results) > SWAPS and all(isinstance(result, Decided) for result in load.results)
    told = [json.loads(result.body) for result in load.results]
    assert {answer["versions"]["program"] for answer in told} == {"first", "second"}
    assert_of_one_program(two_releases, told)


def assert_of_one_program(programs: dict[str, RiskProgram], told: list[dict]) -> None:
    """Every answer's version, margin, probability and rules come from one program: computed again, they are the same."""
    rows = {row.decision_id: row for row in Decision.objects.all()}
    assert len(rows) == len(told)
    for version, program in programs.items():
        answers = [answer for answer in told if answer["versions"]["program"] == version]
        stored = [rows[answer["decision_id"]] for answer in answers]
        assert {row.program_version for row in stored} == {version}
        x = np.stack([stored_row(row.features) for row in stored])
        again = program.run(x)
        assert [row.margin for row in stored] == again.margin.astype(float).tolist()
        assert [answer["probability"] for answer in answers] == [round(p, 6) for p in again.probability.tolist()]
        labels = [outcome.label for outcome in RuleOutcome]
        identifiers = [rule.rule_id for rule in program.rules]
        for answer, codes in zip(answers, again.rule_outcomes.tolist(), strict=True):
            assert answer["rules"] == [
                {"rule_id": rule_id, "outcome": labels[code]} for rule_id, code in zip(identifiers, codes, strict=True)
            ]


def started_engine() -> DecisionEngine:
    engine = DecisionEngine()
    engine.start()
    return engine


def _wait_until(holds, seconds: float = 20.0) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "the program did not change"
        time.sleep(0.002)


# --- refused -------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_build_that_answers_a_golden_row_otherwise_never_serves_and_says_so(make_champion, fresh_engine, monkeypatch, caplog):
    make_champion("v1")
    engine = fresh_engine()
    assert "release v1 serves now; constant_folding: " in caplog.text, "what the compiler made of it"
    make_champion("v2")

    def wrong(self, x, memberships):
        scored = _run(self, x, memberships)
        margin = np.nextafter(scored.margin, np.float32(np.inf))
        return ScoredRows.of(margin, scored.bits, scored.top_features, scored.top_contributions)

    _run = cpu.PreparedCall.run
    with monkeypatch.context() as patched:
        patched.setattr(cpu.PreparedCall, "run", wrong)
        engine.refresh()
    assert engine.program_version == "v1"
    assert engine.refused_release.startswith("v2: golden.json: cpu:0 prepared") and "row 0, margin" in engine.refused_release
    assert "v1 stays live" in caplog.text and "golden.json" in caplog.text
    text = prometheus_text(engine)[0].decode()
    assert "risk_release_refused 1.0" in text and 'risk_program_info{version="v1"} 1.0' in text


@pytest.mark.django_db
def test_a_fault_while_a_program_is_made_ready_leaves_the_old_one_and_is_retried(
    make_champion, fresh_engine, monkeypatch, caplog
):
    make_champion("v1")
    engine = fresh_engine()
    make_champion("v2")

    def fail(*args):
        raise MemoryError("no room for the program")

    with monkeypatch.context() as patched:
        patched.setattr(GoldenRows, "from_json", fail)
        engine.refresh()
        assert (engine.program_version, engine.refused_release) == ("v1", "no room for the program")
    monkeypatch.setattr("scoring.decisions.program_source.RETRY_SECONDS", 0.0)
    engine._programs._retry_at = 0.0
    engine.refresh()
    assert (engine.program_version, engine.refused_release) == ("v2", None)


@pytest.mark.django_db
def test_a_program_is_ready_before_it_serves_and_the_counters_outlive_it(make_champion, fresh_engine, monkeypatch):
    # Prepared programs are the cheaper ones, whatever a busy machine would measure.
    lines = {True: (1.0, 0.1), False: (100.0, 0.1)}
    monkeypatch.setattr(readiness, "measure", lambda name, run, rows: CostLine(name, *lines["prepared" in name]))
    make_champion("v1")
    source = ProgramSource()
    fresh_engine()
    source.refresh()
    told = source.ladder_counters()
    assert told.static_programs > 0 and told.promotions == 0, "made beside the traffic, not by it"
    x = np.zeros((1, current_schema().width), np.float32)
    lists = np.zeros((1, len(source.current.list_names)), bool)
    before = source.ladder_counters().hits
    for version in ("v2", "v3"):
        source.current.run(x, lists)
        make_champion(version)
        assert source.refresh()
    after = source.ladder_counters()
    assert after.hits >= before + 2 and source.swaps == 3


@pytest.mark.django_db
def test_counters_never_fall_while_a_swap_is_under_way(make_champion, fresh_engine):
    told = []

    class Watched(ProgramSource):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if hasattr(self, "_serving"):
                told.append(self.ladder_counters().dynamic)  # what another thread would read at this moment

    make_champion("v1")
    source = Watched()
    fresh_engine()
    for version in ("v1", "v2"):
        make_champion(version) if version == "v2" else None
        for _ in range(3):
            source.current.run(np.zeros((0, current_schema().width), np.float32))
        assert source.refresh()
    assert told[-1] >= 6 and told == sorted(told)
