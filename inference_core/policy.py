"""What each outcome is expected to cost, and so which one to choose: the only place where thresholds come from."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from inference_core.outcomes import Outcome
from kernels.decide_rows import Costs


@dataclass(frozen=True)
class CostPolicy:
    """Costs in minor units of the transaction's currency, rates as shares from 0 to 1.

    The outcome with the least expected cost wins; with p the fraud probability and A the amount:
        approve   p F
        step_up   step_up_cost + p F (1 - step_up_catch) + (1 - p) step_up_abandon (A m + g)
        review    review_cost + p F (1 - review_recovery)                      paid out, looked at afterwards
        hold      review_cost + p F (1 - hold_catch) + (1 - p) hold_friction   not paid until someone has looked
        decline   (1 - p) (A m + g)
    where F = A L + c is what a fraud costs, L loss_given_fraud, c fraud_cost (handling, fees, a new card: it is what makes
    a card test of one cent worth stopping), m good_margin and g declined_good_cost. Elkan 2001, "The foundations of
    cost-sensitive learning", with the amount as the example-dependent cost.
    """

    loss_given_fraud: float = 1.0
    fraud_cost_minor: int = 1_500
    good_margin: float = 0.02
    declined_good_cost_minor: int = 2_500
    review_cost_minor: int = 600
    review_recovery: float = 0.5
    hold_catch: float = 0.95
    hold_friction_minor: int = 800
    step_up_cost_minor: int = 15
    step_up_catch: float = 0.7
    step_up_abandon: float = 0.03

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            limit = float("inf") if name.endswith("_minor") else 1.0
            if not 0 <= value <= limit:
                raise ValueError(f"{name} must lie between 0 and {limit:g}; got {value}")

    def expected_costs(self, probability: np.ndarray, amount_minor: np.ndarray) -> np.ndarray:
        """Return [B, 5] expected costs in minor units, one column an outcome in the order of Outcome."""
        p = np.asarray(probability, np.float64)
        amount = np.asarray(amount_minor, np.float64)
        loss = p * (amount * self.loss_given_fraud + self.fraud_cost_minor)
        false_decline = (1 - p) * (amount * self.good_margin + self.declined_good_cost_minor)
        costs = np.empty((*loss.shape, 5))  # filled column by column: np.stack takes as long as all of it
        costs[..., 0] = loss
        costs[..., 1] = self.step_up_cost_minor + loss * (1 - self.step_up_catch) + self.step_up_abandon * false_decline
        costs[..., 2] = self.review_cost_minor + loss * (1 - self.review_recovery)
        costs[..., 3] = self.review_cost_minor + loss * (1 - self.hold_catch) + (1 - p) * self.hold_friction_minor
        costs[..., 4] = false_decline
        return costs

    def outcomes(self, probability: np.ndarray, amount_minor: np.ndarray) -> np.ndarray:
        """Return Outcome codes [B] uint8; a probability that is NaN is never approved: it gets REVIEW."""
        probability = np.asarray(probability, np.float64)
        missing = np.isnan(probability)
        if not missing.any():
            return self.expected_costs(probability, amount_minor).argmin(axis=-1).astype(np.uint8)
        chosen = self.expected_costs(np.where(missing, 0.0, probability), amount_minor).argmin(axis=-1).astype(np.uint8)
        return np.where(missing, np.uint8(Outcome.REVIEW), chosen)

    @property
    def costs(self) -> Costs:
        """The same numbers as the compiled decision reads them."""
        return Costs(
            loss_given_fraud=self.loss_given_fraud,
            fraud_cost=self.fraud_cost_minor,
            good_margin=self.good_margin,
            declined_good_cost=self.declined_good_cost_minor,
            review_cost=self.review_cost_minor,
            review_left=1 - self.review_recovery,
            hold_left=1 - self.hold_catch,
            hold_friction=self.hold_friction_minor,
            step_up_cost=self.step_up_cost_minor,
            step_up_left=1 - self.step_up_catch,
            step_up_abandon=self.step_up_abandon,
        )

    def to_json(self) -> dict:
        return asdict(self)


def default_policy() -> CostPolicy:
    """Return the costs that a new installation starts with."""
    return CostPolicy()
