"""What another policy would have cost, from the logged windows of the one that served: no traffic is risked on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from inference_core.errors import SchedulingError
from inference_core.scheduling.learned import Choice

Context = tuple[float, ...]
# Context -> the probability of each tuning under the policy in question.
Probabilities = Callable[[Context], Sequence[float]]


@dataclass(frozen=True)
class Estimate:
    """Attributes:
    cost: the estimated mean cost of a window.
    standard_error: of it, windows taken as independent.
    effective_windows: how many windows' worth of evidence there is (Kish): few where the logged policy seldom did what the
        other one would do.
    """

    cost: float
    standard_error: float
    effective_windows: float


def inverse_propensity(log: Iterable[Choice], target: Probabilities) -> Estimate:
    """Weigh each window by how much likelier the other policy would have chosen its tuning; self-normalised (Hajek).

    Raises:
        SchedulingError: nothing is logged, or no logged window could have come from the other policy.
    """
    weights, costs = _weights(log, target)
    total = sum(weights)
    mean = sum(w * c for w, c in zip(weights, costs, strict=True)) / total
    spread = math.sqrt(sum((w * (c - mean)) ** 2 for w, c in zip(weights, costs, strict=True))) / total
    return Estimate(mean, spread, total * total / sum(w * w for w in weights))


def doubly_robust(log: Iterable[Choice], target: Probabilities, predicted: Callable[[Context, int], float]) -> Estimate:
    """Correct the predicted costs of the other policy by what was observed (Dudik, Langford and Li 2011): right where either the
    prediction or the propensities are.

    Raises:
        SchedulingError: as inverse_propensity.
    """
    log = list(log)
    weights, costs = _weights(log, target)
    values = []
    for weight, cost, choice in zip(weights, costs, log, strict=True):
        direct = sum(p * predicted(choice.context, arm) for arm, p in enumerate(target(choice.context)) if p > 0)
        values.append(direct + weight * (cost - predicted(choice.context, choice.arm)))
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)
    return Estimate(mean, math.sqrt(variance / len(values)), sum(weights) ** 2 / sum(w * w for w in weights))


def _weights(log: Iterable[Choice], target: Probabilities) -> tuple[list[float], list[float]]:
    weights, costs = [], []
    for choice in log:
        if not 0 < choice.propensity <= 1:
            raise SchedulingError(f"a logged propensity must be above 0 and at most 1; got {choice.propensity!r}")
        weights.append(target(choice.context)[choice.arm] / choice.propensity)
        costs.append(choice.cost)
    if not any(weights):
        raise SchedulingError("no logged window tells anything about this policy: log with exploration, and longer")
    return weights, costs
