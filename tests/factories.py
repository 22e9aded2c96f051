"""Rows for tests, with values as they would really be: decisions, labels, alerts, engine samples, releases and runs."""

from __future__ import annotations

import itertools
import json
import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission

from scoring.feature_rows import packed_row
from scoring.features.schema import current_schema
from scoring.models import (
    Alert,
    Decision,
    EngineSample,
    Label,
    Outcome,
    ProgramRelease,
    Rule,
    TrainingRun,
)
from scoring.telemetry import LATENCY_BOUNDS_MS

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
PASSWORD = "correct horse battery staple"
_numbers = itertools.count(1)
_IN_THE_TRANSACTION_ONLY = ("account_id", "terminal_id", "device_id", "counterparty_id")


def make_analyst(username: str = "alice", *, may_roll_back: bool = False, **fields: Any):
    """A dashboard user whose password is PASSWORD."""
    user = get_user_model().objects.create_user(username, password=PASSWORD, **fields)
    if may_roll_back:
        user.user_permissions.add(Permission.objects.get(content_type__app_label="scoring", codename="change_programrelease"))
    return user


def build_decision(**given: Any) -> Decision:
    """An unsaved card payment by alice at her grocer's, approved unless told otherwise."""
    number = next(_numbers)
    fields: dict[str, Any] = {
        "decision_id": str(uuid.UUID(int=number << 64 | 0x8000_0000_0000_0000 | number)),
        "transaction_id": f"tx-{number:06d}",
        "occurred_at": NOON,
        "amount_minor": 2_499,
        "currency": "EUR",
        "type": "card_payment",
        "channel": "pos",
        "customer_id": "cust-alice",
        "card_id": "card-alice-1",
        "merchant_id": "merch-grocer",
        "terminal_id": "term-0001",
        "country": "NL",
        "outcome": Outcome.APPROVE,
        "score": 12,
        "probability": 0.0123,
        "margin": -4.39,
        "feature_schema": current_schema().version,
        "program_version": "20260301-1a2b3c4d-1",
        "engine_us": 212,
        "mode": "normal",
    } | given
    reasons = fields.pop("reasons", [])
    rules = fields.pop("rules", [])
    features = fields.pop("features", None)
    fields.setdefault("received_at", fields["occurred_at"] + timedelta(milliseconds=180))
    fields["features"] = _feature_row(fields) if features is None else features
    fields["transaction"] = fields.get("transaction") or json.dumps(_transaction(fields))
    fields["response"] = json.dumps(_response(fields, reasons, rules))
    for name in _IN_THE_TRANSACTION_ONLY:
        fields.pop(name, None)
    return Decision(**fields)


def make_decision(**given: Any) -> Decision:
    """`build_decision`, saved."""
    decision = build_decision(**given)
    decision.save()
    return decision


def make_flagged(**given: Any) -> Decision:
    """A declined purchase with mallory's stolen card, with reasons and rule results."""
    return make_decision(
        **{
            "amount_minor": 118_900,
            "channel": "ecom",
            "merchant_id": "merch-electronics",
            "outcome": Outcome.DECLINE,
            "score": 941,
            "probability": 0.9412,
            "margin": 2.77,
            "reasons": REASONS,
            "rules": RULES,
        }
        | given
    )


REASONS = [
    {"code": "model.card.ratio.24h", "source": "model", "text": "Amount is 9.1 times the card's usual", "weight": 1.84,
     "feature": "card.ratio.24h", "value": 9.1},
    {"code": "rule.card_testing", "source": "rule", "text": "Many small payments with this card within ten minutes",
     "weight": 0.7, "rule_id": "card_testing"},
    {"code": "model.terminal.risk_rate.7d", "source": "model", "text": "Known fraud at this terminal", "weight": 0.42,
     "feature": "terminal.risk_rate.7d", "value": 0.031},
    {"code": "model.customer.since_last", "source": "model", "text": "Time since the customer's last payment is usual",
     "weight": -0.11, "feature": "customer.since_last", "value": 5400.0},
]  # fmt: skip
RULES = [
    {"rule_id": "blocked_device", "outcome": "no_hit"},
    {"rule_id": "card_testing", "outcome": "hit"},
    {"rule_id": "new_beneficiary", "outcome": "insufficient_history"},
]


def _feature_row(fields: dict[str, Any]) -> bytes:
    schema = current_schema()
    rng = np.random.default_rng(fields["amount_minor"])
    row = np.round(rng.gamma(1.5, 3.0, schema.width), 2).astype(np.float32)
    row[rng.random(schema.width) < 0.3] = np.nan
    is_flag = np.array([column.unit == "0 or 1" for column in schema.columns])
    row[is_flag] = rng.random(is_flag.sum()) < 0.3
    row[schema.index("amount_minor")] = fields["amount_minor"]
    return packed_row(row)


def _transaction(fields: dict[str, Any]) -> dict[str, Any]:
    names = (
        "transaction_id", "amount_minor", "currency", "type", "channel", "customer_id", "account_id",
        "card_id", "merchant_id", "terminal_id", "device_id", "counterparty_id", "country",
    )  # fmt: skip
    body = {name: fields[name] for name in names if fields.get(name) is not None}
    return body | {"occurred_at": fields["occurred_at"].isoformat(), "card_present": fields["channel"] == "pos"}


def _response(fields: dict[str, Any], reasons: list[dict], rules: list[dict]) -> dict[str, Any]:
    return {
        "decision_id": fields["decision_id"],
        "transaction_id": fields["transaction_id"],
        "status": "new",
        "outcome": Outcome(fields["outcome"]).label,
        "score": fields["score"],
        "probability": fields["probability"],
        "reasons": reasons,
        "rules": rules,
        "degraded": fields.get("degraded", False),
        "mode": fields["mode"],
        "versions": {"program": fields["program_version"], "ruleset": "9f3a1c20", "model": fields["program_version"],
                     "features": fields["feature_schema"], "policy": "5d0e77ab"},
        "timing_us": {"queue": 41, "features": 118, "program": 53},
        "occurred_at": fields["occurred_at"].isoformat(),
        "received_at": fields["received_at"].isoformat(),
    }  # fmt: skip


def build_label(decision: Decision, label: str = "fraud", **given: Any) -> Label:
    """An unsaved label, reported two days after the payment."""
    return Label(
        **{
            "label_id": f"label-{next(_numbers)}",
            "decision": decision,
            "label": label,
            "source": "network",
            "occurred_at": decision.occurred_at,
            "reported_at": decision.occurred_at + timedelta(days=2),
            "received_at": decision.occurred_at + timedelta(days=2),
        }
        | given
    )


def make_label(decision: Decision, label: str = "fraud", **given: Any) -> Label:
    """`build_label`, saved."""
    row = build_label(decision, label, **given)
    row.save()
    return row


def make_alert(decision: Decision | None = None, **given: Any) -> Alert:
    """An open alert on a declined purchase."""
    decision = decision or make_flagged()
    return Alert.objects.create(decision=decision, **{"outcome": decision.outcome, "score": decision.score} | given)


def build_sample(at: datetime, **given: Any) -> EngineSample:
    """One second of an engine process; `latency_ms` {milliseconds: count} fills the histogram."""
    latency_ms = given.pop("latency_ms", {})
    counts = [0] * (len(LATENCY_BOUNDS_MS) + 1)
    for value, count in latency_ms.items():
        counts[int(np.searchsorted(LATENCY_BOUNDS_MS, value))] += count
    return EngineSample(**{"at": at, "process": "web-1", "seconds": 1.0, "latency_counts": counts} | given)


def make_sample(at: datetime, **given: Any) -> EngineSample:
    """`build_sample`, saved."""
    sample = build_sample(at, **given)
    sample.save()
    return sample


def gate_figures(champion_ap: float | None = 0.71, challenger_ap: float = 0.73, *, passed: bool = True) -> dict:
    """What a training run stores of its comparison."""

    def interval(value: float, half: float = 0.04) -> dict[str, float]:
        return {"estimate": value, "low": value - half, "high": value + half}

    gate = {
        "rows": 18_240,
        "frauds": 164,
        "fraud_rate": 164 / 18_240,
        "challenger": {"ap": interval(challenger_ap), "auc": 0.972},
        "money": {"currency": "EUR", "rows": 18_240, "approve_all_minor": 96.2, "challenger_minor": 31.5,
                  "champion_minor": 33.9 if champion_ap else None},
        "checks": [
            {"name": "average_precision", "passed": passed,
             "text": f"AP {challenger_ap:.3f} against {champion_ap or 0.009:.3f}"},
            {"name": "calibration", "passed": True, "text": "the mean probability is 1.08 times the fraud rate"},
        ],
    }  # fmt: skip
    if champion_ap is not None:
        gate["champion"] = {"ap": interval(champion_ap), "auc": 0.968}
        gate["ap_difference"] = interval(challenger_ap - champion_ap, 0.015)
    return {"gate": gate}


def make_release(version: str, state: str = "retired", **given: Any) -> ProgramRelease:
    """A release with the figures that it was promoted or refused on."""
    return ProgramRelease.objects.create(
        version=version,
        state=state,
        **{"artifact": version, "manifest_sha256": "0" * 64, "figures": gate_figures()} | given,
    )


def make_run(slot: str, state: str = "promoted", **given: Any) -> TrainingRun:
    """A finished training run."""
    started = NOON + timedelta(hours=1)
    return TrainingRun.objects.create(
        slot=slot,
        state=state,
        **{
            "trigger": "schedule",
            "figures": gate_figures(),
            "reason": "AP 0.730 against 0.710: difference +0.020 (+0.005 to +0.035)",
            "attempts": 1,
            "started_at": started,
            "finished_at": started + timedelta(seconds=43.2),
        }
        | given,
    )


def seed_dashboard(now: datetime, decisions: int = 3000, seed: int = 7) -> None:
    """Fill every table that the dashboard reads: 40 days of payments with a fraud wave, and 15 minutes of samples."""
    rng = random.Random(seed)
    for rule in RULES:
        Rule.objects.get_or_create(rule_id=rule["rule_id"], defaults={"name": rule["rule_id"].replace("_", " ").capitalize()})
    rows, frauds = [], []
    start = now - timedelta(days=40)
    for i in range(decisions):
        at = start + timedelta(days=40) * (i / decisions)
        wave = 15 < (at - start).days < 20
        is_fraud = rng.random() < (0.12 if wave else 0.03)
        rows.append(_random_payment(rng, at, is_fraud, wave))
        if is_fraud:
            frauds.append(rows[-1])
    rows = Decision.objects.bulk_create(rows, batch_size=200)
    Label.objects.bulk_create(
        build_label(d, fraud_type=rng.choice(["card_testing", "account_takeover", "stolen_card"])) for d in frauds
    )
    flagged = [d for d in rows if d.outcome >= Outcome.REVIEW][-130:]
    Alert.objects.bulk_create(Alert(decision=d, outcome=d.outcome, score=d.score) for d in flagged)
    EngineSample.objects.bulk_create(_random_samples(rng, now))
    _seed_models(now)


def _random_payment(rng: random.Random, at: datetime, is_fraud: bool, wave: bool) -> Decision:
    skill = 0.45 if wave else 0.8
    probability = min(
        0.999, max(0.0004, rng.betavariate(6, 2) if is_fraud and rng.random() < skill else rng.betavariate(0.5, 22))
    )
    outcome = 0 if probability < 0.08 else 1 if probability < 0.2 else 2 if probability < 0.45 else 3 if probability < 0.7 else 4
    customer = rng.randrange(60)
    return build_decision(
        occurred_at=at,
        amount_minor=int(rng.lognormvariate(8.2, 1.1)) + (40_000 if is_fraud else 0),
        currency=rng.choice(["EUR"] * 8 + ["GBP", "JPY"]),
        channel=rng.choice(["pos", "ecom", "atm", "mobile"]),
        customer_id=f"cust-{customer:04d}",
        card_id=f"card-{customer:04d}-1",
        merchant_id=f"merch-{rng.randrange(90):04d}",
        terminal_id=f"term-{rng.randrange(200):05d}",
        country=rng.choice(["NL", "DE", "FR", "GB"]),
        outcome=outcome,
        score=round(1000 * probability),
        probability=probability,
        degraded=rng.random() < 0.004,
        engine_us=rng.randrange(120, 900),
        reasons=REASONS if outcome >= Outcome.STEP_UP else [],
        rules=RULES if outcome >= Outcome.STEP_UP else [dict(r, outcome="no_hit") for r in RULES],
    )  # fmt: skip


def _random_samples(rng: random.Random, now: datetime) -> list[EngineSample]:
    samples = []
    for second in range(880, 0, -1):
        count = int(140 + 40 * np.sin(second / 90) + rng.gauss(0, 12))
        slow = 4.0 if 300 < second < 340 else 1.0
        samples.append(
            build_sample(
                now - timedelta(seconds=second),
                decisions=count,
                batches=count // 2,
                degraded=1 if rng.random() < 0.04 else 0,
                refused=1 if rng.random() < 0.02 else 0,
                cpu_seconds=0.31 + 0.05 * rng.random(),
                outcomes={"approve": count - 9, "step_up": 5, "review": 2, "hold": 1, "decline": 1},
                latency_ms={1.1 * slow: int(count * 0.6), 2.3 * slow: int(count * 0.33), 6.5 * slow: int(count * 0.05) + 1,
                            14.0 * slow: int(count * 0.02)},
            )
        )  # fmt: skip
    return samples


def _seed_models(now: datetime) -> None:
    day = timedelta(days=1)
    first = make_release("20260105-77aa01bc-1", promoted_at=now - 21 * day, figures=gate_figures(None, 0.68))
    second = make_release("20260112-19cd88e0-1", promoted_at=now - 9 * day, parent=first)
    refused = make_release("20260119-5ab0f1d2-1", "refused", parent=second, figures=gate_figures(0.73, 0.69, passed=False))
    live = make_release("20260126-e4c2703f-1", "champion", promoted_at=now - 2 * day, parent=second)
    make_run(
        "bootstrap-1",
        trigger="bootstrap",
        challenger=first,
        figures=gate_figures(None, 0.68),
        reason="AP 0.680 (0.640 to 0.720) against 0.0090 of a random ranking",
    )
    make_run("schedule-1", challenger=second, champion=first)
    make_run(
        "schedule-2",
        "refused",
        challenger=refused,
        champion=second,
        figures=gate_figures(0.73, 0.69, passed=False),
        reason="AP 0.690 against 0.730: difference −0.040 (−0.055 to −0.025), allowed down to −0.030",
    )
    make_run("schedule-3", challenger=live, champion=second, attempts=2)
    make_run(
        "schedule-4", "skipped", champion=live, figures={}, reason="too few matured frauds: 12 of 20 needed in the gate period"
    )
    make_run("manual-5", "running", champion=live, figures={}, reason="", trigger="manual", finished_at=None)  # fmt: skip
