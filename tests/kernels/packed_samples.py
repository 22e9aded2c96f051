"""Feature rows as windows give them: missing entities, nested windows, means and ratios of their sums and counts."""

from __future__ import annotations

import numpy as np

KINDS, WINDOWS = 3, 5


def window_rows(rows: int, seed: int = 0) -> np.ndarray:
    """float32 [rows, 109]: an amount, three flags, then count, sum, mean, maximum, distinct, ratio and z-score of windows."""
    rng = np.random.default_rng([rows, seed])
    x = np.full((rows, 4 + KINDS * 7 * WINDOWS), np.nan, np.float32)
    amount = np.rint(rng.lognormal(8, 2, rows))
    x[:, 0] = amount
    x[:, 1:4] = rng.integers(0, 2, (rows, 3))
    for kind in range(KINDS):
        known = rng.random(rows) < 0.6
        count = np.cumsum(rng.integers(0, 3, (rows, WINDOWS)), axis=1)
        total = np.cumsum(np.where(count > 0, np.rint(rng.lognormal(8, 2, (rows, WINDOWS))), 0), axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(count > 0, total / count, np.nan)
            ratio, zscore = amount[:, None] / mean, (amount[:, None] - mean) / (rng.random((rows, WINDOWS)) + 1)
        found = np.concatenate([count, total, mean, total // 2, count // 2, ratio, zscore], axis=1)
        start = 4 + kind * 7 * WINDOWS
        x[known, start : start + 7 * WINDOWS] = found[known]
    return x
