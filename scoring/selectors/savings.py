"""What the decisions saved, per currency, as far as their truth is known.

saved = amounts of the frauds that were held or declined
      - for each good payment declined: amount x good_margin + declined_good_cost_minor
      - for each good payment held: hold_friction_minor
      - for each review or hold: review_cost_minor

The costs are those of the cost policy. A fraud that was only reviewed or stepped up is not counted as stopped: the money
may have left. Currencies are never added up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scoring.engine import CostPolicy, default_policy
from scoring.models import Outcome
from scoring.selectors.matured import MaturedDecisions


@dataclass(frozen=True, slots=True)
class Savings:
    """Amounts are minor units of `currency`; `saved_minor` is negative where the decisions cost more than they stopped."""

    currency: str
    frauds_stopped: int
    stopped_minor: int
    frauds_missed: int
    missed_minor: int
    good_declined: int
    good_held: int
    good_cost_minor: int
    reviews: int
    review_cost_minor: int

    @property
    def saved_minor(self) -> int:
        return self.stopped_minor - self.good_cost_minor - self.review_cost_minor


def cost_policy() -> CostPolicy:
    """Return the costs that the savings are counted with."""
    return default_policy()


def savings_of(matured: MaturedDecisions, policy: CostPolicy | None = None) -> tuple[Savings, ...]:
    """Sum up each currency, the one with the most decisions first."""
    policy = policy or cost_policy()
    currencies, counts = np.unique(matured.currency, return_counts=True)
    by_count = currencies[np.argsort(-counts, kind="stable")]
    return tuple(_of_currency(matured, str(c), matured.currency == c, policy) for c in by_count)


def _of_currency(matured: MaturedDecisions, currency: str, rows: NDArray[np.bool_], policy: CostPolicy) -> Savings:
    amount, outcome, fraud = matured.amount_minor[rows], matured.outcome[rows], matured.is_fraud[rows]
    is_stopped = outcome >= Outcome.HOLD
    declined_good = ~fraud & (outcome == Outcome.DECLINE)
    held_good = ~fraud & (outcome == Outcome.HOLD)
    reviews = int(((outcome == Outcome.REVIEW) | (outcome == Outcome.HOLD)).sum())
    good_cost = (
        policy.good_margin * float(amount[declined_good].sum())
        + policy.declined_good_cost_minor * int(declined_good.sum())
        + policy.hold_friction_minor * int(held_good.sum())
    )
    return Savings(
        currency=currency,
        frauds_stopped=int((fraud & is_stopped).sum()),
        stopped_minor=int(amount[fraud & is_stopped].sum()),
        frauds_missed=int((fraud & ~is_stopped).sum()),
        missed_minor=int(amount[fraud & ~is_stopped].sum()),
        good_declined=int(declined_good.sum()),
        good_held=int(held_good.sum()),
        good_cost_minor=round(good_cost),
        reviews=reviews,
        review_cost_minor=reviews * policy.review_cost_minor,
    )
