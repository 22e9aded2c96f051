"""A weight as one bit for each place, and the values that are not zero."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kernels.errors import KernelInputError

WORD = 64
MAX_INPUTS = 1 << 16
"""Sums of so many products of 8 by 8 bits fit in int32."""
_POINTER, _LONG = ctypes.c_void_p, ctypes.c_int64


class _Weight(ctypes.Structure):
    _fields_ = [
        ("outputs", _LONG), ("inputs", _LONG), ("words", _LONG), ("bits", _POINTER), ("starts", _POINTER), ("values", _POINTER),
        ("sums", _POINTER),
    ]  # fmt: skip


@dataclass(frozen=True, eq=False)
class BitmapWeight:
    """A weight [outputs, inputs].

    Attributes:
        inputs: of the weight.
        bits: [outputs, ceil(inputs / 64)] uint64, input i in bit i % 64 of word i // 64.
        values: [those that are not zero + 64] float32 or int8, row by row in order of the inputs; the last 64 are zeros,
            so that a whole register may be read from any place.
    """

    inputs: int
    bits: np.ndarray
    values: np.ndarray

    @property
    def outputs(self) -> int:
        return len(self.bits)

    @property
    def bytes(self) -> int:
        """What one row has to read: bits and values, starts of rows and (int8) their sums."""
        return self.bits.nbytes + self.values.nbytes + self.starts.nbytes + self.sums.nbytes

    @cached_property
    def starts(self) -> np.ndarray:
        """[outputs] int64: where in values a row begins."""
        counts = np.bitwise_count(self.bits).sum(axis=1, dtype=np.int64)
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)[:-1]])[: self.outputs]

    @cached_property
    def sums(self) -> np.ndarray:
        """[outputs] int32: sum of an int8 row's values, by which unsigned inputs are put right; empty for float32."""
        if self.values.dtype != np.int8:
            return np.zeros(0, np.int32)
        running = np.concatenate([[0], np.cumsum(self.values, dtype=np.int64)])
        ends = np.append(self.starts[1:], len(self.values) - WORD)
        return (running[ends] - running[self.starts]).astype(np.int32)

    @cached_property
    def native(self) -> ctypes.Structure:
        """The weight as the C kernel reads it."""
        arrays = self.bits, self.starts, self.values, self.sums
        return _Weight(self.outputs, self.inputs, self.bits.shape[1], *(array.ctypes.data for array in arrays))

    @cached_property
    def address(self) -> int:
        return ctypes.addressof(self.native)

    def dense(self) -> np.ndarray:
        """Return the weight [outputs, inputs]."""
        kept = np.unpackbits(self.bits.view(np.uint8), axis=1, bitorder="little").astype(bool)
        weight = np.zeros(kept.shape, self.values.dtype)
        weight[kept] = self.values[: len(self.values) - WORD]
        return weight[:, : self.inputs]


def pack_bitmap(weight: np.ndarray) -> BitmapWeight:
    """Return a weight [outputs, inputs], float32 or int8, as bits and values; NaN counts as a value.

    Raises:
        KernelInputError: another dtype or shape, or more than MAX_INPUTS inputs.
    """
    if weight.dtype not in (np.float32, np.int8) or weight.ndim != 2 or not 1 <= weight.shape[1] <= MAX_INPUTS:
        raise KernelInputError(
            f"the weight must be float32 or int8 [outputs, 1 to {MAX_INPUTS} inputs]; got {weight.dtype} {weight.shape}"
        )
    kept = weight != 0
    padded = np.pad(kept, ((0, 0), (0, -weight.shape[1] % WORD)))
    bits = np.packbits(padded, axis=1, bitorder="little").view(np.uint64)
    return BitmapWeight(weight.shape[1], bits, np.concatenate([weight[kept], np.zeros(WORD, weight.dtype)]))
