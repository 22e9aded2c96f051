"""Random draws that several parts of the simulator share. All are vectorised."""

import numpy as np

from scoring.ingest.columns import DAY, HOUR


class GroupSampler:
    """Draws items by weight within a group, for many groups at once.

    Args:
        items: `int [I]`, what is drawn.
        weight: `float [I]`, positive.
        group: `int [I]`, the group of each item; without it there is one group, 0.
    """

    def __init__(self, items: np.ndarray, weight: np.ndarray, group: np.ndarray | None = None) -> None:
        if group is None:
            group = np.zeros(len(items), dtype=np.int64)
        order = np.argsort(group, kind="stable")
        self._items = items[order]
        totals = np.append(0.0, np.cumsum(weight[order]))
        self._ends = np.searchsorted(group[order], np.arange(int(group.max()) + 1), side="right")
        self._starts = np.append(0, self._ends[:-1])
        self._cumulative = totals[1:]
        self._low = totals[self._starts]
        self._high = totals[self._ends]

    def sample(self, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One item `int64 [N]` for each entry of `groups` `int [N]`; each must have an item."""
        low, high = self._low[groups], self._high[groups]
        point = low + rng.random(len(groups)) * (high - low)
        place = np.searchsorted(self._cumulative, point, side="right")
        # Rounding may put a point on the end of its group.
        return self._items[np.clip(place, self._starts[groups], self._ends[groups] - 1)]

    def draw(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """`size` items `int64 [size]` of group 0."""
        return self.sample(np.zeros(size, dtype=np.int64), rng)


class DayRhythm:
    """Times of day by hourly weights `float [24]`."""

    def __init__(self, hourly: list[float]) -> None:
        if len(hourly) != 24:
            raise ValueError(f"expected 24 hourly weights, got {len(hourly)}")
        self._cumulative = np.cumsum(hourly) / np.sum(hourly)

    def sample(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """Microseconds after midnight, `int64 [size]`."""
        hour = np.searchsorted(self._cumulative, rng.random(size), side="right")
        return np.minimum(hour, 23) * HOUR + rng.integers(0, HOUR, size)


# When people sit at a phone or a computer.
ONLINE_HOURS = DayRhythm([4, 2, 1.2, 0.8, 0.6, 0.7, 1.5, 3, 4, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 10, 11, 11, 9, 6])


def shifted(time_of_day: np.ndarray, hours: np.ndarray) -> np.ndarray:
    """Times of day moved by `hours`, wrapped at midnight; `int64 [N]` microseconds."""
    return (time_of_day + (hours * HOUR).astype(np.int64)) % DAY


def lognormal_minor(median: np.ndarray | float, sigma: float, size: int, rng: np.random.Generator) -> np.ndarray:
    """Amounts in minor units, `int64 [size]`, at least 1; `median` in minor units."""
    amounts = np.asarray(median) * np.exp(sigma * rng.standard_normal(size))
    return np.maximum(np.rint(amounts), 1).astype(np.int64)


def rounded(amounts: np.ndarray, step: int) -> np.ndarray:
    """Amounts rounded to multiples of `step`, at least one step; `int64 [N]`."""
    return np.maximum(np.rint(amounts / step), 1).astype(np.int64) * step
