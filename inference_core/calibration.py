"""From log-odds to a probability that means what it says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Calibration:
    """probability = sigmoid(slope * margin + intercept); monotone, so ranking is unchanged (Platt 1999)."""

    slope: float = 1.0
    intercept: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.slope) and np.isfinite(self.intercept) and self.slope > 0):
            raise ValueError(f"slope must be positive and both finite; got {self.slope}, {self.intercept}")

    @classmethod
    def identity(cls) -> Calibration:
        return cls()

    def probability(self, margin: np.ndarray) -> np.ndarray:
        """Return probabilities float64 of margins; NaN stays NaN."""
        z = np.multiply(margin, -self.slope, dtype=np.float64)
        z -= self.intercept
        # Beyond these exp overflows or underflows; np.clip would cost more than all the rest.
        np.minimum(z, 700.0, out=z)
        np.maximum(z, -700.0, out=z)
        np.exp(z, out=z)
        z += 1.0
        return np.reciprocal(z, out=z)


def fit_platt(margins: np.ndarray, labels: np.ndarray, *, iterations: int = 100) -> Calibration:
    """Fit slope and intercept on the log-loss with Platt's smoothed targets.

    Newton's method with a line search, without which it oscillates on well separated margins (Lin, Lin and Weng 2007,
    "A note on Platt's probabilistic outputs"). Where a slope that is not positive would come out (margins that do not
    rank), the slope is 1 and the intercept alone is fitted.

    Raises:
        ValueError: fewer than one of each class, or margins that are not finite.
    """
    margins = np.asarray(margins, np.float64)
    target = smoothed_targets(labels)
    if not np.isfinite(margins).all():
        raise ValueError("calibration needs finite margins")
    design = np.column_stack([margins, np.ones_like(margins)])
    slope, intercept = minimise_log_loss(design, target, np.array([1.0, 0.0]), iterations)
    if slope <= 0:
        (intercept,) = minimise_log_loss(design[:, 1:], target, np.zeros(1), iterations, offset=margins)
        slope = 1.0
    return Calibration(float(slope), float(intercept))


def smoothed_targets(labels: np.ndarray) -> np.ndarray:
    """Return Platt's targets [n] float64 of labels [n]: a little below 1 and above 0, by how many of a class were seen.

    Raises:
        ValueError: fewer than one of each class.
    """
    labels = np.asarray(labels, np.float64)
    positives = labels.sum()
    negatives = len(labels) - positives
    if positives < 1 or negatives < 1:
        raise ValueError("calibration needs at least one fraud and one legitimate row")
    return np.where(labels > 0.5, (positives + 1) / (positives + 2), 1 / (negatives + 2))


def minimise_log_loss(
    design: np.ndarray, target: np.ndarray, weights: np.ndarray, iterations: int, offset: np.ndarray | float = 0.0
) -> np.ndarray:
    """Return the weights with the least log-loss of sigmoid(design @ weights + offset) against `target`."""

    def loss(of: np.ndarray) -> float:
        z = design @ of + offset
        return float(np.sum(np.logaddexp(0, z) - target * z))

    value = loss(weights)
    for _ in range(iterations):
        p = 1 / (1 + np.exp(-np.clip(design @ weights + offset, -500, 500)))
        gradient = design.T @ (p - target)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(len(weights))
        step = np.linalg.solve(hessian, gradient)
        share = 1.0
        while (tried := loss(weights - share * step)) > value - 1e-4 * share * float(gradient @ step) and share > 1e-10:
            share /= 2
        if share <= 1e-10:
            break  # as low as the arithmetic can tell
        weights, value = weights - share * step, tried
    return weights
