"""Whether a challenger may replace the champion: every gate must pass on rows that neither of them has seen.

Figures are plain numbers by name, so that they can be stored, shown and compared later. Money is what the decisions would
have cost, given what is now known: the policy's costs with the label in place of the probability.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np

from scoring.engine import CostPolicy
from scoring.learning.metrics import (
    Interval,
    auc_roc,
    average_precision,
    bootstrap_interval,
    brier,
    paired_bootstrap_difference,
    recall_at_fpr,
)

PROMOTE, REFUSE, SKIP = "promote", "refuse", "skip"


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """What a challenger must show; shares unless the name says otherwise."""

    min_new_frauds: int = 1
    min_fit_frauds: int = 30
    min_tune_frauds: int = 10
    min_gate_frauds: int = 20
    # The paired interval may reach this far below zero: with few frauds even equal models differ by chance.
    ap_margin: float = 0.03
    recall_drop: float = 0.05
    # Relative to the champion's.
    brier_rise: float = 0.10
    cost_rise: float = 0.01
    # Mean probability over observed fraud rate. Wide, as frauds come in bursts: a week of 200 may hold few incidents.
    calibration_low: float = 0.4
    calibration_high: float = 2.5
    # A first model replaces nothing, so only a level that is plainly wrong keeps it back.
    first_calibration_low: float = 0.2
    first_calibration_high: float = 5.0
    resamples: int = 400
    seed: int = 5


@dataclass(frozen=True, slots=True)
class Scores:
    """What one program says of the gate rows: margin [n] ranks, probability [n] is calibrated."""

    margin: np.ndarray
    probability: np.ndarray


@dataclass(frozen=True, slots=True)
class GateRows:
    """The newest matured rows: label [n] 0 or 1, amount_minor [n] with its currency [n]."""

    label: np.ndarray
    amount_minor: np.ndarray
    currency: np.ndarray


@dataclass(frozen=True, slots=True)
class Check:
    """One gate, with its outcome in words."""

    name: str
    passed: bool
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision (promote, refuse or skip), why, and everything it rests on."""

    decision: str
    reason: str
    figures: dict = field(default_factory=dict)


def judge(rows: GateRows, challenger: Scores, champion: Scores | None, costs: CostPolicy, policy: GatePolicy) -> Verdict:
    """Compare the two on the gate rows; without a champion the challenger must beat knowing nothing."""
    figures = {
        "rows": len(rows.label),
        "frauds": int(rows.label.sum()),
        "fraud_rate": float(rows.label.mean()),
        "challenger": _figures_of(rows, challenger, policy),
        "money": _money(rows, challenger, champion, costs),
    }
    if champion is None:
        checks = _checks_of_a_first_model(figures, policy)
    else:
        figures["champion"] = _figures_of(rows, champion, policy)
        difference = paired_bootstrap_difference(
            average_precision, rows.label, challenger.margin, champion.margin, resamples=policy.resamples, seed=policy.seed
        )
        figures["ap_difference"] = asdict(difference)
        checks = _checks_against_champion(figures, difference, policy)
    figures["checks"] = [asdict(check) for check in checks]
    failed = [check.text for check in checks if not check.passed]
    if failed:
        return Verdict(REFUSE, "; ".join(failed), figures)
    return Verdict(PROMOTE, "; ".join(check.text for check in checks), figures)


def _figures_of(rows: GateRows, scores: Scores, policy: GatePolicy) -> dict:
    precision = bootstrap_interval(average_precision, rows.label, scores.margin, resamples=policy.resamples, seed=policy.seed)
    return {
        "ap": asdict(precision),
        "auc": auc_roc(rows.label, scores.margin),
        "recall_at_1pct_fpr": recall_at_fpr(rows.label, scores.margin, max_fpr=0.01),
        "brier": brier(rows.label, scores.probability),
        "calibration_ratio": float(scores.probability.mean() / rows.label.mean()),
    }


def _money(rows: GateRows, challenger: Scores, champion: Scores | None, costs: CostPolicy) -> dict:
    """Return the mean cost of a decision in minor units, over the rows of the most frequent currency.

    Amounts of different currencies do not add up, and exchange rates are not known here.
    """
    currencies, counts = np.unique(rows.currency, return_counts=True)
    currency = currencies[counts.argmax()]
    chosen = rows.currency == currency
    label, amount = rows.label[chosen].astype(np.float64), rows.amount_minor[chosen]
    cost_of_outcome = costs.expected_costs(label, amount)

    def mean_cost(scores: Scores) -> float:
        outcome = costs.outcomes(scores.probability[chosen], amount)
        return float(cost_of_outcome[np.arange(len(outcome)), outcome].mean())

    return {
        "currency": str(currency),
        "rows": int(chosen.sum()),
        "approve_all_minor": float(cost_of_outcome[:, 0].mean()),
        "challenger_minor": mean_cost(challenger),
        "champion_minor": None if champion is None else mean_cost(champion),
    }


def _checks_of_a_first_model(figures: dict, policy: GatePolicy) -> list[Check]:
    ap, rate, money = figures["challenger"]["ap"], figures["fraud_rate"], figures["money"]
    return [
        Check(
            "average_precision",
            ap["low"] > rate,
            f"AP {ap['estimate']:.3f} ({ap['low']:.3f} to {ap['high']:.3f}) against {rate:.4f} of a random ranking",
        ),
        Check(
            "cost",
            money["challenger_minor"] < money["approve_all_minor"],
            f"a decision costs {money['challenger_minor']:.1f} minor units of {money['currency']} "
            f"against {money['approve_all_minor']:.1f} when all is approved",
        ),
        _calibration_check(figures, policy.first_calibration_low, policy.first_calibration_high),
    ]


def _checks_against_champion(figures: dict, difference: Interval, policy: GatePolicy) -> list[Check]:
    challenger, champion, money = figures["challenger"], figures["champion"], figures["money"]
    recall_change = challenger["recall_at_1pct_fpr"] - champion["recall_at_1pct_fpr"]
    cost, cost_before = money["challenger_minor"], money["champion_minor"]
    return [
        Check(
            "average_precision",
            difference.low >= -policy.ap_margin,
            f"AP {challenger['ap']['estimate']:.3f} against {champion['ap']['estimate']:.3f}: difference "
            f"{difference.estimate:+.3f} ({difference.low:+.3f} to {difference.high:+.3f}), "
            f"allowed down to {-policy.ap_margin:+.3f}",
        ),
        Check(
            "recall",
            recall_change >= -policy.recall_drop,
            f"recall at 1 % false positives {challenger['recall_at_1pct_fpr']:.3f} against {champion['recall_at_1pct_fpr']:.3f}",
        ),
        Check(
            "brier",
            challenger["brier"] <= champion["brier"] * (1 + policy.brier_rise),
            f"Brier score {challenger['brier']:.5f} against {champion['brier']:.5f}",
        ),
        _calibration_check(figures, policy.calibration_low, policy.calibration_high),
        Check(
            "cost",
            cost <= cost_before + policy.cost_rise * abs(cost_before),
            f"a decision costs {cost:.1f} minor units of {money['currency']} against {cost_before:.1f}",
        ),
        Check(
            "gain",
            difference.estimate > 0 or cost < cost_before,
            "better in AP or in cost" if difference.estimate > 0 or cost < cost_before else "better in neither AP nor cost",
        ),
    ]


def _calibration_check(figures: dict, low: float, high: float) -> Check:
    ratio = figures["challenger"]["calibration_ratio"]
    return Check(
        "calibration",
        low <= ratio <= high,
        f"the mean probability is {ratio:.2f} times the fraud rate, allowed {low:g} to {high:g}",
    )
