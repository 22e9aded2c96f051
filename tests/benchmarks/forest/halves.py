"""Two Python threads, each over one half of the rows: for engines that release the interpreter lock."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tests.benchmarks.side_by_side.engines import Call


def on_two_threads(make: Callable[[np.ndarray], Call], pool: ThreadPoolExecutor) -> Callable[[np.ndarray], Call]:
    """Return a way to score both halves at once: one in the caller's thread, one in the pool's."""

    def make_both(x: np.ndarray) -> Call:
        if len(x) < 2:
            return make(x)
        middle = len(x) // 2
        first, second = make(x[:middle]), make(x[middle:])

        def both() -> np.ndarray:
            other = pool.submit(second)
            mine = first()
            return np.concatenate([np.ravel(mine), np.ravel(other.result())])

        return both

    return make_both
