"""Admission of many single rows at once, with the answers that asking for one after the other would give."""

from __future__ import annotations

import numpy as np


def complete_us(begin_us: float, row_us: float, rows: int | np.ndarray) -> float | np.ndarray:
    """Return when the last of so many rows is expected to be complete: what every request is admitted by, alone or in columns."""
    return begin_us + rows * row_us


def rows_done_by(deadlines_us: np.ndarray, begin_us: float, row_us: float, most: int) -> np.ndarray:
    """Return [n] int64: how many rows are complete by each deadline, from 0 to `most`, as complete_us() says.

    Exact to the last bit of that, so that one row is not admitted here and refused there.
    """
    if not np.isfinite(begin_us) or not np.isfinite(row_us):
        return np.zeros(len(deadlines_us), np.int64)
    rows = np.floor(np.clip((deadlines_us - begin_us) / row_us, -1.0, most))
    rows += complete_us(begin_us, row_us, rows + 1.0) <= deadlines_us
    rows -= complete_us(begin_us, row_us, rows) > deadlines_us
    return np.clip(rows, 0, most).astype(np.int64)


def admitted_in_order(allowed: np.ndarray) -> np.ndarray:
    """Return [n] bool: row i is admitted if fewer than allowed[i] of those before it were.

    Where `allowed` ascends, as it does while all have the same time to their deadlines, the number admitted after row i is
    min(number before + 1, allowed[i]), which is a running minimum. Else rows are gone through one by one.
    """
    if not len(allowed):
        return np.zeros(0, bool)
    if (allowed[1:] >= allowed[:-1]).all():
        number = np.arange(len(allowed))
        after = number + np.minimum(np.minimum.accumulate(allowed - number), 1)
        return np.diff(after, prepend=0) > 0
    admitted, count = np.zeros(len(allowed), bool), 0
    for i, most in enumerate(allowed.tolist()):
        if count < most:
            admitted[i] = True
            count += 1
    return admitted
