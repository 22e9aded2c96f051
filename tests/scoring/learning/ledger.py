"""Ledger rows and labels with a known pattern in their features, written straight into the tables."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import numpy as np

from scoring.feature_rows import packed_row
from scoring.features.schema import current_schema
from scoring.models import Decision, Label

FIRST_DAY = datetime(2026, 3, 2, tzinfo=UTC)
_numbers = itertools.count(1)


def add_decision(occurred_at: datetime, features: np.ndarray | None = None, **fields) -> Decision:
    """Store one decided transaction."""
    row = _decision(occurred_at, np.zeros(current_schema().width) if features is None else features, **fields)
    row.save()
    return row


def add_label(decision: Decision, kind: str, reported_at: datetime) -> Label:
    """Store one verdict on the decision."""
    label = _label(decision, kind, reported_at)
    label.save()
    return label


def add_history(
    *,
    rows: int,
    days: float,
    start: datetime = FIRST_DAY,
    seed: int = 0,
    signal: tuple[int, ...] = (20, 30),
    fraud_rate: float = 0.05,
) -> list[Decision]:
    """Store `rows` transactions over `days`, and a fraud label two days later for those that the pattern makes frauds.

    A row is a fraud when the features at the positions `signal` are large together, up to noise.
    """
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(rows, current_schema().width)).astype(np.float32)
    strength = features[:, list(signal)].sum(axis=1) + 0.5 * generator.normal(size=rows)
    is_fraud = strength > np.quantile(strength, 1 - fraud_rate)
    times = [start + timedelta(days=days * i / rows) for i in range(rows)]
    amounts = generator.integers(1_000, 100_000, rows)
    decisions = [_decision(at, x, amount_minor=int(a)) for at, x, a in zip(times, features, amounts, strict=True)]
    Decision.objects.bulk_create(decisions)
    Label.objects.bulk_create(
        _label(decision, "fraud", decision.occurred_at + timedelta(days=2))
        for decision, fraud in zip(decisions, is_fraud, strict=True)
        if fraud
    )
    return decisions


def _decision(occurred_at: datetime, features: np.ndarray, **fields) -> Decision:
    number = next(_numbers)
    values = {
        "decision_id": f"d-{number}",
        "transaction_id": f"t-{number}",
        "occurred_at": occurred_at,
        "received_at": occurred_at,
        "amount_minor": 5_000,
        "currency": "EUR",
        "type": "card_payment",
        "channel": "pos",
        "transaction": "{}",
        "outcome": 0,
        "score": 0,
        "features": packed_row(np.asarray(features, np.float32)),
        "feature_schema": current_schema().version,
        "program_version": "none",
        "engine_us": 0,
        "response": "{}",
    }
    return Decision(**values | fields)


def _label(decision: Decision, kind: str, reported_at: datetime) -> Label:
    return Label(
        label_id=f"l-{next(_numbers)}",
        decision=decision,
        label=kind,
        source="simulator",
        occurred_at=decision.occurred_at,
        reported_at=reported_at,
        received_at=reported_at,
    )
