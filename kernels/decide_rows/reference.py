"""The plain form of the kernel: one row after the other, as the contract in __init__.py says it."""

from __future__ import annotations

import math

import numpy as np

from kernels.decide_rows.table import DecideTable, RowFlags

APPROVE, REVIEW = 0, 2
_HIT, _ERROR = 1, 3


def decide_rows(
    table: DecideTable,
    margin: np.ndarray | None,
    codes: np.ndarray,
    amount_minor: np.ndarray,
    late: np.ndarray,
    flags: RowFlags,
    offline_limit_minor: int,
) -> tuple[np.ndarray, ...]:
    """Return probability, risk, score, stamps, outcome and cost_outcome, each [n], of rows whose rules gave `codes` [n, R]."""
    rows = []
    for i, amount in enumerate(amount_minor.tolist()):
        p = math.nan if margin is None else _probability(table, float(margin[i]))
        missing = math.isnan(p)
        cost_outcome = REVIEW if missing else _cheapest(table, p, float(amount))
        if missing and table.has_model and 0 < offline_limit_minor and amount <= offline_limit_minor:
            cost_outcome = APPROVE
        demanded, survival, failed = APPROVE, 1.0, False
        for r, code in enumerate(codes[i].tolist()):
            if code == _HIT:
                demanded, survival = max(demanded, int(table.on_hit[r])), survival * float(table.survival[r])
            elif code == _ERROR:
                demanded, failed = max(demanded, int(table.on_error[r])), True
        risk = 1.0 - (1.0 - (0.0 if missing else p)) * survival
        stamps = flags.always
        for is_so, flag in ((late[i], flags.late), (missing, flags.missing), (failed, flags.error)):
            stamps |= flag if is_so else 0
        rows.append((p, risk, round(risk * 1000.0), stamps, max(cost_outcome, demanded), cost_outcome))
    kinds = (np.float64, np.float64, np.int32, np.uint32, np.uint8, np.uint8)
    columns = zip(*rows, strict=True) if rows else ((),) * len(kinds)
    return tuple(np.array(column, kind) for column, kind in zip(columns, kinds, strict=True))


def values_of(x: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Return [n, K] float32, the values of columns `features` [n, K] of x [n, F]; 1 for F, the net, which was there."""
    width = x.shape[1]
    found = np.take_along_axis(x, np.minimum(features, width - 1), axis=1) if width else np.zeros(features.shape, np.float32)
    return np.where(features < width, found, np.float32(1))


def _probability(table: DecideTable, margin: float) -> float:
    z = margin * -table.slope - table.intercept
    if z > 700.0:
        z = 700.0
    if z < -700.0:
        z = -700.0
    return 1.0 / (math.exp(z) + 1.0)


def _cheapest(table: DecideTable, p: float, amount: float) -> int:
    of = table.costs
    loss = p * (amount * of.loss_given_fraud + of.fraud_cost)
    declined = (1 - p) * (amount * of.good_margin + of.declined_good_cost)
    costs = (
        loss,
        of.step_up_cost + loss * of.step_up_left + of.step_up_abandon * declined,
        of.review_cost + loss * of.review_left,
        of.review_cost + loss * of.hold_left + (1 - p) * of.hold_friction,
        declined,
    )
    return costs.index(min(costs))
