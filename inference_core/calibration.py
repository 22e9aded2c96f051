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
        return 1.0 / (1.0 + np.exp(-np.clip(self.slope * np.asarray(margin, np.float64) + self.intercept, -700, 700)))


def fit_platt(margins: np.ndarray, labels: np.ndarray, *, iterations: int = 100) -> Calibration:
    """Fit slope and intercept by Newton's method on the log-loss with Platt's smoothed targets.

    Falls back to an intercept-only fit where a slope that is not positive would come out (margins that do not rank).

    Raises:
        ValueError: fewer than one of each class.
    """
    labels = np.asarray(labels, np.float64)
    margins = np.asarray(margins, np.float64)
    positives = labels.sum()
    negatives = len(labels) - positives
    if positives < 1 or negatives < 1:
        raise ValueError("calibration needs at least one fraud and one legitimate row")
    target = np.where(labels > 0.5, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    design = np.column_stack([margins, np.ones_like(margins)])
    weights = np.array([1.0, 0.0])
    for _ in range(iterations):
        p = 1 / (1 + np.exp(-np.clip(design @ weights, -500, 500)))
        gradient = design.T @ (p - target)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        weights -= np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    if not np.isfinite(weights).all() or weights[0] <= 0:
        return Calibration(1.0, float(np.log(positives / negatives) - np.average(margins)))
    return Calibration(float(weights[0]), float(weights[1]))
