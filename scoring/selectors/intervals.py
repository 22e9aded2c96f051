"""Proportions with their 95 % intervals."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure between 0 and 1 with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Proportion:
    """`hits` out of `total`; `interval` is None while `total` is 0, because nothing is known then."""

    hits: int
    total: int
    interval: Interval | None


def proportion(hits: int, total: int) -> Proportion:
    """Return hits/total with its Wilson score interval, which stays inside [0, 1] and holds for few counts.

    Raises:
        ValueError: `hits` is not between 0 and `total`.
    """
    if not 0 <= hits <= total:
        raise ValueError(f"hits must be between 0 and total; got {hits} of {total}")
    if total == 0:
        return Proportion(hits, total, None)
    share = hits / total
    z2 = Z_95 * Z_95
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z_95 / (1 + z2 / total) * sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    return Proportion(hits, total, Interval(share, max(0.0, centre - half), min(1.0, centre + half)))
