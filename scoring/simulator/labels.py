"""Reports: when each fraud becomes known, which never does, and honest payments disputed."""

from typing import Any

import numpy as np

from scoring.ingest.columns import DAY, HOUR, MINUTE, rfc3339
from scoring.simulator.block import HONEST, NONE, Block
from scoring.simulator.config import TYPOLOGIES
from scoring.simulator.fraud.incidents import SCENARIOS

_DISPUTED = 0.0005
_SOONEST = 30 * MINUTE


def report_times(payments: Block, rng: np.random.Generator) -> np.ndarray:
    """When each payment is reported as fraud, `int64 [N]` microseconds; -1 where never.

    A victim finds out once and reports all payments of an incident within minutes, after the last.
    """
    reported = np.full(len(payments), NONE, dtype=np.int64)
    frauds = np.flatnonzero(payments.typology != HONEST)
    if len(frauds) == 0:
        return reported
    keys = np.stack([payments.incident[frauds], payments.customer[frauds]], axis=1)
    _, case = np.unique(keys, axis=0, return_inverse=True)
    case = case.reshape(-1)
    cases = int(case.max()) + 1
    typology = np.empty(cases, dtype=np.int64)
    typology[case] = payments.typology[frauds] - 1
    last = np.zeros(cases, dtype=np.int64)
    np.maximum.at(last, case, payments.time[frauds])
    median, sigma, unreported = (
        np.array([getattr(scenario, name) for scenario in SCENARIOS])[typology]
        for name in ("report_days", "report_sigma", "unreported")
    )
    delay = DAY * median * np.exp(sigma * rng.standard_normal(cases))
    known_at = last + np.maximum(delay, _SOONEST).astype(np.int64)
    known_at = np.where(rng.random(cases) < unreported, NONE, known_at)
    minutes = rng.integers(0, 20 * MINUTE, len(frauds))
    reported[frauds] = np.where(known_at[case] == NONE, NONE, known_at[case] + minutes)
    return reported


def build_labels(
    payments: Block, reported: np.ndarray, transaction_ids: list[str], start_us: int, rng: np.random.Generator
) -> list[tuple[int, dict[str, Any]]]:
    """Bodies of `POST /api/v1/labels` with their `reported_at` in microseconds, in that order."""
    rows = np.flatnonzero(reported != NONE)
    kinds = ["fraud"] * len(rows)
    times = reported[rows]
    disputed = np.flatnonzero((payments.typology == HONEST) & (payments.card != NONE) & (rng.random(len(payments)) < _DISPUTED))
    asked = payments.time[disputed] + (DAY * rng.lognormal(np.log(3.0), 0.7, len(disputed)) + _SOONEST).astype(np.int64)
    resolved = asked + rng.integers(12 * HOUR, 12 * DAY, len(disputed))
    rows = np.concatenate([rows, disputed, disputed])
    kinds += ["dispute"] * len(disputed) + ["legitimate"] * len(disputed)
    times = np.concatenate([times, asked, resolved])
    order = np.argsort(times, kind="stable")
    occurred_at = rfc3339(payments.time[rows] + start_us)
    reported_at = rfc3339(times + start_us)
    return [
        (int(times[i]) + start_us, _label(payments, int(rows[i]), kinds[i], transaction_ids, occurred_at[i], reported_at[i]))
        for i in order.tolist()
    ]


def _label(payments: Block, row: int, kind: str, ids: list[str], occurred_at: str, reported_at: str) -> dict[str, Any]:
    label = {
        "label_id": f"lbl-{ids[row]}-{kind}",
        "transaction_id": ids[row],
        "label": kind,
        "source": "simulator",
        "occurred_at": occurred_at,
        "reported_at": reported_at,
    }
    if kind == "fraud":
        label["fraud_type"] = TYPOLOGIES[payments.typology[row] - 1]
    return label
