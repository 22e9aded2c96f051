"""An engine of the test's own on an empty ledger, with the built-in rules live."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scoring.decisions import runtime
from scoring.decisions.engine import DecisionEngine
from scoring.engine import RiskProgram, load_or_create_signing_key, save_program
from scoring.models import ProgramRelease, Rule, RuleVersion
from scoring.rules.builtin import AUTHOR, BUILTIN_RULES
from tests.scoring.decisions.programs import model_ubj, risk_program

NOON = datetime.fromisoformat("2026-03-02T12:00:00+00:00")


def payment(number: int | str, after: timedelta = timedelta(0), **fields: Any) -> dict[str, Any]:
    """A card payment of alice's at her grocer's, as the API takes it; None leaves a field out."""
    body = {
        "transaction_id": f"tx-{number}",
        "occurred_at": (NOON + after).isoformat().replace("+00:00", "Z"),
        "amount_minor": 2_500,
        "currency": "EUR",
        "type": "card_payment",
        "channel": "pos",
        "customer_id": "cust-alice",
        "card_id": "card-alice",
        "merchant_id": "merch-grocer",
        "terminal_id": "term-1",
        "device_id": "dev-alice",
    } | fields
    return {name: value for name, value in body.items() if value is not None}


def make_builtin_rules_live() -> None:
    """What install_builtin_rules() does to an empty database, in two statements: many tests begin with it."""
    rules = Rule.objects.bulk_create(Rule(rule_id=rule_id, name=of["name"]) for rule_id, of in BUILTIN_RULES.items())
    RuleVersion.objects.bulk_create(
        RuleVersion(rule=rule, version=1, state="live", definition=BUILTIN_RULES[rule.rule_id]["definition"], created_by=AUTHOR)
        for rule in rules
    )


@pytest.fixture
def fresh_engine(db) -> Iterator[Callable[[], DecisionEngine]]:
    """`fresh_engine()` returns an engine that starts from the ledger, as after a restart; decide_now() uses it too."""
    make_builtin_rules_live()

    def start() -> DecisionEngine:
        runtime.discard_engine()
        return runtime.get_engine()

    yield start
    runtime.discard_engine()


@pytest.fixture
def engine(fresh_engine) -> DecisionEngine:
    return fresh_engine()


@pytest.fixture
def make_champion(settings, tmp_path: Path, db) -> Callable[..., ProgramRelease]:
    """`make_champion(version)` writes a signed program with a forest and makes it the champion."""
    settings.ARTIFACT_DIR = tmp_path / "artifacts"
    settings.VERIFY_KEY_FILE = tmp_path / "verify.pem"
    key = load_or_create_signing_key(tmp_path / "sign.pem", settings.VERIFY_KEY_FILE)

    def make(version: str = "v1", program: RiskProgram | None = None, **fields: Any) -> ProgramRelease:
        program = program or risk_program(version=version)
        digest = save_program(program, model_ubj() if program.forest else None, settings.ARTIFACT_DIR / version, key, {})
        ProgramRelease.objects.filter(state="champion").update(state="retired")
        row = {"version": version, "artifact": version, "manifest_sha256": digest, "state": "champion"}
        return ProgramRelease.objects.create(**row | fields)

    return make
