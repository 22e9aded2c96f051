"""A comparison with a constant as a half-open range of float32: low <= value < high, which is what cuts can say.

`value <= c` is `value < next(c)`, where next(c) is the smallest float32 above c: no float32 lies between them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from inference_core.compiler.ir import Compare, Comparison, Constant, IsMissing, ProgramIR


@dataclass(frozen=True)
class Range:
    """The values v with low <= v < high; None is no bound. Holds for no missing value.

    Attributes:
        number: position in the IR.
        negated: the values outside, and the missing ones, are meant.
    """

    number: int
    low: float | None
    high: float | None
    negated: bool = False

    @property
    def cuts(self) -> list[float]:
        return [cut for cut in (self.low, self.high) if cut is not None]


def range_of(ir: ProgramIR, node: Compare | IsMissing) -> Range:
    """Return the range that a comparison with a folded constant, or a test for missing values, stands for."""
    if isinstance(node, IsMissing):
        return Range(node.a, None, None, negated=True)
    bound = ir.numbers[node.b]
    if not isinstance(bound, Constant) or math.isnan(bound.value):
        raise TypeError(f"truth {node} is not against a number: fold constants first")
    at = bound.value + 0.0  # -0.0 becomes 0.0, which it equals
    after = next_float(at)
    bounds = {
        Comparison.LT: (None, at), Comparison.LE: (None, after), Comparison.GT: (after, None), Comparison.GE: (at, None),
        Comparison.EQ: (at, after), Comparison.NE: (at, after),
    }  # fmt: skip
    low, high = bounds[node.op]
    if node.op is Comparison.GT and after is None:
        low, high = math.inf, math.inf  # above infinity: nothing
    return Range(node.a, low, high, negated=node.op is Comparison.NE)


def next_float(value: float) -> float | None:
    """Return the smallest float32 above `value`, or None above infinity."""
    with np.errstate(over="ignore"):  # infinity comes after the largest number
        return None if value == math.inf else float(np.nextafter(np.float32(value), np.float32(np.inf)))
