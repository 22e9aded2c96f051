"""What decides, beside the scores: calibration, costs and the rules' demands."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kernels.errors import KernelInputError

_DOUBLE, _POINTER, _LONG = ctypes.c_double, ctypes.c_void_p, ctypes.c_int64


class Costs(NamedTuple):
    """Costs in minor units; a name that ends in `_left` is the share of a fraud's loss that remains after that outcome."""

    loss_given_fraud: float
    fraud_cost: float
    good_margin: float
    declined_good_cost: float
    review_cost: float
    review_left: float
    hold_left: float
    hold_friction: float
    step_up_cost: float
    step_up_left: float
    step_up_abandon: float


class RowFlags(NamedTuple):
    """Bits that are set in a row's stamps: in all, in late ones, in those without a probability, and where a rule failed."""

    always: int
    late: int
    missing: int
    error: int


class _Native(ctypes.Structure):
    """`decide_table` of cpu.c."""

    _fields_ = [
        ("slope", _DOUBLE), ("intercept", _DOUBLE), *((name, _DOUBLE) for name in Costs._fields),
        ("survival", _POINTER), ("on_hit", _POINTER), ("on_error", _POINTER), ("rules", _LONG), ("words", _LONG),
        ("has_model", _LONG),
    ]  # fmt: skip


@dataclass(frozen=True, eq=False)
class DecideTable:
    """What is the same for all rows of a program.

    Attributes:
        slope, intercept: probability = sigmoid(slope * margin + intercept).
        costs: from which the cheapest outcome follows.
        on_hit, on_error: [R] uint8 outcome codes that a rule demands.
        survival: [R] float64, what a hit leaves of the probability of a good payment.
        has_model: a row should have a probability, even where what scored it had no forest.
    """

    slope: float
    intercept: float
    costs: Costs
    on_hit: np.ndarray
    on_error: np.ndarray
    survival: np.ndarray
    has_model: bool

    def __post_init__(self) -> None:
        rules = (len(self.survival),)
        for name, kind in (("on_hit", np.uint8), ("on_error", np.uint8), ("survival", np.float64)):
            array = getattr(self, name)
            if array.dtype != kind or array.shape != rules or not array.flags.c_contiguous:
                raise KernelInputError(
                    f"{name} must be {np.dtype(kind)} {list(rules)}, contiguous; got {array.dtype} {array.shape}"
                )
        words = (self.rules + 63) // 64
        arrays = (self.survival.ctypes.data, self.on_hit.ctypes.data, self.on_error.ctypes.data)
        native = _Native(self.slope, self.intercept, *self.costs, *arrays, self.rules, words, self.has_model)
        object.__setattr__(self, "native", native)
        object.__setattr__(self, "address", ctypes.addressof(native))

    @property
    def rules(self) -> int:
        """R."""
        return len(self.survival)
