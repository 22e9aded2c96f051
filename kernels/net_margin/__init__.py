"""Totals of a quantised net on bins: integers throughout, the same for any batch size, kernel and device.

The first layer is a table: the rows int16 that a row's bins read are added. Between layers a sum int32 becomes an activation
uint8 from 0 to 127 by one multiplication in float32, rounded half to even. See NetTable for the arrays and
inference_core.net.QuantisedNet for the formulas.

Activations are often zero. Where few enough are, the kernels take only what is not: four neighbouring inputs at a time, or
inputs one by one, whichever is measured to cost less; the totals are the same.
"""

from __future__ import annotations

import ctypes
import enum
from typing import NamedTuple

import numpy as np

from kernels.bin_features import check_bins
from kernels.errors import KernelInputError
from kernels.native import check, library, pointer
from kernels.net_margin.table import NetTable, NetTableLayer

__all__ = ["NetTable", "NetTableLayer", "Path", "Work", "net_totals", "net_work"]


class Path(enum.IntEnum):
    """How the layers after the first are worked out. QUADS skips four inputs where all are zero, UNITS each that is."""

    AUTO = 0
    DENSE = 1
    QUADS = 2
    UNITS = 3


class Work(NamedTuple):
    """Multiplications of weights: all, those whose activation is not zero, and those that were done."""

    all: int
    needed: int
    done: int


def net_totals(net: NetTable, bins: np.ndarray, path: Path = Path.AUTO) -> np.ndarray:
    """Return totals int32 [B] of bins [at least net.columns, B] uint8.

    Raises:
        KernelInputError: bins does not fit.
    """
    check_bins(bins, net.columns)
    native = library()
    if native is None:
        from kernels.net_margin import reference

        return reference.net_totals(net, bins)
    totals = np.empty(bins.shape[1], np.int32)
    check(native.net_totals(net.native.address, pointer(bins), len(totals), path, pointer(totals), None))
    return totals


def net_work(net: NetTable, bins: np.ndarray, path: Path = Path.AUTO) -> Work:
    """Return how many multiplications bins [at least net.columns, B] uint8 take on a path.

    Raises:
        KernelInputError: bins does not fit, or no compiled kernels are installed.
    """
    check_bins(bins, net.columns)
    native = library()
    if native is None:
        raise KernelInputError("no compiled kernels are installed")
    totals, counts = np.empty(bins.shape[1], np.int32), (ctypes.c_int64 * 2)()
    check(native.net_totals(net.native.address, pointer(bins), len(totals), path, pointer(totals), counts))
    return Work(net.macs * bins.shape[1], counts[0], counts[1])
