"""How much the forest and how much the net, from rows that neither was fitted on."""

from __future__ import annotations

import numpy as np

from inference_core.calibration import minimise_log_loss, smoothed_targets
from inference_core.net.blend import Blend

_ITERATIONS = 100


def fit_blend(forest_margins: np.ndarray, net_logits: np.ndarray, labels: np.ndarray) -> Blend:
    """Fit a logistic regression on the two log-odds, with weights that are not negative and Platt's smoothed targets.

    A weight that would be negative is 0, and the other is fitted alone; where neither ranks, the forest stands alone.

    Args:
        forest_margins, net_logits: [n], finite. labels: [n] of 0 and 1.

    Raises:
        ValueError: fewer than one of each class, or numbers that are not finite.
    """
    both = np.column_stack([forest_margins, net_logits]).astype(np.float64)
    if not np.isfinite(both).all():
        raise ValueError("a blend needs finite margins and logits")
    target = smoothed_targets(labels)
    for used in ([0, 1], [0], [1]):
        design = np.column_stack([both[:, used], np.ones(len(both))])
        *weights, offset = minimise_log_loss(design, target, np.array([1 / len(used)] * len(used) + [0.0]), _ITERATIONS)
        if min(weights) > 0:
            by_source = np.zeros(2)
            by_source[used] = weights
            return Blend(float(by_source[0]), float(by_source[1]), float(offset))
    return Blend(1.0, 0.0, 0.0)
