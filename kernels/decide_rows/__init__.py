"""From scores to decisions: calibrated probability, rule codes, the cheapest outcome, the strictest demand, risk and stamps.

The contract, of a row with margin m (None where no forest ran), amount A and rule codes c[R]
---------------------------------------------------------------------------------------------------
* probability p = 1 / (1 + exp(z)), z = m * -slope - intercept held within +-700; NaN where m is NaN or None.
* codes: 1 for a hit, 2 for insufficient history, 3 for an error, else 0.
* cost outcome: of the five expected costs (inference_core.policy has the formulas, and reference.py their order of
  operations) the first of the least. Without a probability it is REVIEW; where there should have been one (has_model) and
  0 < offline limit >= A, it is APPROVE.
* outcome: the largest of the cost outcome, on_hit of the rules that hit and on_error of those in error.
* risk = 1 - (1 - p) * the product of survival over the rules that hit, in their order; p counts as 0 where it is missing.
  score = 1000 risk, rounded to the nearest whole number, halves to even.
* stamps: always | late | missing | error, each where it applies.
* safe_features: top_features with 0 for -1 (no further feature: it contributes nothing); top_values: x at these.

`exp` is the C library's, as in Python's math: probabilities are equal on machines that have the same one, and within a
unit in the last place of Calibration.probability.
"""

from __future__ import annotations

import ctypes
import functools
from typing import NamedTuple

import numpy as np

from kernels.decide_rows.table import Costs, DecideTable, RowFlags
from kernels.errors import KernelInputError
from kernels.native import address, library, typed_libraries
from kernels.score_rows import ScoredRows

_P, _N, _U = ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint32
# More rows take long enough to let other threads run meanwhile.
_BRIEF = 256


class DecidedRows(NamedTuple):
    """n decisions; see the contract.

    Attributes:
        probability, risk: [n] float64.
        score: [n] int32, 0 to 1000.
        safe_features: [n, K] int32.
        stamps: [n] uint32.
        top_values: [n, K] float32.
        outcome, cost_outcome: [n] uint8.
        rule_codes: [n, R] uint8.
    """

    probability: np.ndarray
    risk: np.ndarray
    score: np.ndarray
    safe_features: np.ndarray
    stamps: np.ndarray
    top_values: np.ndarray
    outcome: np.ndarray
    cost_outcome: np.ndarray
    rule_codes: np.ndarray


class _Call(ctypes.Structure):
    """`decide_call` of cpu.c."""

    _fields_ = [
        ("n", _N), ("row_stride", _N), ("top", _N), ("offline_limit", _N),
        ("x", _P), ("margin", _P), ("amount", _P), ("late", _P), ("hit", _P), ("insufficient", _P), ("error", _P),
        ("top_features", _P), ("flags", _U), ("late_flag", _U), ("missing_flag", _U), ("error_flag", _U),
        *((name, _P) for name in DecidedRows._fields),
    ]  # fmt: skip


_KINDS = (np.float64, np.float64, np.int32, np.int32, np.uint32, np.float32, np.uint8, np.uint8, np.uint8)
_SIGNATURES = {"decide_rows": ([_P, _P], None)}


def decide_rows(
    table: DecideTable,
    scored: ScoredRows,
    x: np.ndarray,
    amount_minor: np.ndarray,
    late: np.ndarray,
    flags: RowFlags,
    offline_limit_minor: int = 0,
) -> DecidedRows:
    """Decide on n scored rows.

    Args:
        x: [n, F] float32, C-contiguous, that were scored.
        amount_minor: [n] int64.
        late: [n] uint8 or bool.

    Raises:
        KernelInputError: a shape or type does not fit.
    """
    n = len(scored)
    if x.dtype != np.float32 or x.ndim != 2 or len(x) != n or not x.flags.c_contiguous:
        raise KernelInputError(f"x must be float32 [{n}, F], contiguous; got {x.dtype} {list(x.shape)}")
    if amount_minor.dtype != np.int64 or amount_minor.shape != (n,) or not amount_minor.flags.c_contiguous:
        raise KernelInputError(f"amount_minor must be int64 [{n}], contiguous; got {amount_minor.dtype} {amount_minor.shape}")
    if late.itemsize != 1 or late.shape != (n,) or not late.flags.c_contiguous:
        raise KernelInputError(f"late must be uint8 [{n}], contiguous; got {late.dtype} {late.shape}")
    if library() is None:
        return _by_reference(table, scored, x, amount_minor, late, flags, offline_limit_minor)
    where, top = scored.places(), scored.top
    if where.words != (table.rules + 63) // 64:
        raise KernelInputError(f"the scores have {where.words} words of rules; {table.rules} rules are expected")
    decided, outputs = _room(n, top, table.rules)
    call = _Call(
        n, x.shape[1], top, offline_limit_minor, address(x), where.margin, address(amount_minor), address(late),
        where.hit, where.insufficient, where.error, where.top_features, *flags, *outputs,
    )  # fmt: skip
    brief, long = _libraries()
    (brief if n <= _BRIEF else long).decide_rows(table.address, ctypes.addressof(call))
    return decided


@functools.cache
def _libraries() -> tuple[ctypes.PyDLL, ctypes.CDLL]:
    return typed_libraries(_SIGNATURES)


def _room(n: int, top: int, rules: int) -> tuple[DecidedRows, list[int]]:
    """Return arrays that lie one behind the other in one piece of memory, and their addresses."""
    one, ranked = (n,), (n, top)
    shapes = (one, one, one, ranked, one, ranked, one, one, (n, rules))
    buffer = np.empty(n * (8 + 8 + 4 + 4 * top + 4 + 4 * top + 1 + 1 + rules) + 1, np.uint8)
    start, arrays, places = address(buffer), [], []
    at = 0
    for shape, kind in zip(shapes, _KINDS, strict=True):
        array = np.ndarray(shape, kind, buffer, at)
        arrays.append(array)
        places.append(start + at)
        at += array.nbytes
    return DecidedRows(*arrays), places


def _by_reference(
    table: DecideTable, scored: ScoredRows, x: np.ndarray, amount_minor: np.ndarray, late: np.ndarray, flags: RowFlags, limit: int
) -> DecidedRows:
    from kernels.decide_rows import reference

    codes = scored.bits.codes(table.rules)
    margin = scored.margin if scored.has_margin else None
    probability, risk, score, stamps, outcome, cost_outcome = reference.decide_rows(
        table, margin, codes, amount_minor, late, flags, limit
    )
    features = np.maximum(scored.top_features, 0)
    values = reference.values_of(x, features)
    return DecidedRows(probability, risk, score, features, stamps, values, outcome, cost_outcome, codes)


__all__ = ["Costs", "DecideTable", "DecidedRows", "RowFlags", "decide_rows"]
