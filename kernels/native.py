"""The compiled library, where the install could build it."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import numpy as np

from kernels.errors import KernelInputError

logger = logging.getLogger(__name__)

VARIANTS = ("plain", "avx2", "avx512")
"""Instruction sets that the kernels are written for, by the number that the library knows them by."""

_POINTER, _LONG = ctypes.c_void_p, ctypes.c_int64


class ScoreCall(ctypes.Structure):
    """What score_rows is told besides the rows (kernels/score_rows/cpu.c)."""

    _fields_ = [
        ("tables", _POINTER), ("rows", _LONG), ("row_stride", _LONG), ("column_stride", _LONG), ("top", _LONG),
        ("first", _LONG), ("total", _LONG), ("out", _POINTER),
    ]  # fmt: skip


_SIGNATURES = {
    "bin_features": [_POINTER, _POINTER, _LONG, _LONG, _LONG, _POINTER, _POINTER],
    "rule_mask": [_POINTER, _POINTER, _LONG, _LONG, _POINTER, _POINTER, _POINTER],
    "net_totals": [_POINTER, _POINTER, _LONG, ctypes.c_int, _POINTER, _POINTER],
    "trees_on_bins": [_POINTER, _POINTER, _LONG, _POINTER, _POINTER],
    "score_rows": [_POINTER, _POINTER, _POINTER],
    "kernels_choose_variant": [ctypes.c_int],
}


@functools.cache
def library() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None (said once, in the log) where the references have to do the work.

    RISKAPP_KERNELS asks by name: "reference" for the references, or one of VARIANTS, or a lower one where the processor
    does not have it.

    Raises:
        ValueError: RISKAPP_KERNELS is something else.
        RuntimeError: the library was built from other sources than these.
    """
    wanted = os.environ.get("RISKAPP_KERNELS", "")
    if wanted not in ("", "reference", *VARIANTS):
        raise ValueError(f"RISKAPP_KERNELS is {wanted!r}; leave it out, or set it to reference or one of {', '.join(VARIANTS)}")
    if wanted == "reference":
        return None
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_native{suffix}")
        if path.exists():
            return _open(path, wanted)
    logger.warning(
        "no compiled kernels were found: the slow references are in use. "
        "Install a C compiler (Debian: gcc, libc6-dev) and run 'pip install -e .' again"
    )
    return None


def _open(path: Path, wanted: str) -> ctypes.CDLL:
    native = ctypes.CDLL(str(path))
    for name, arguments in _SIGNATURES.items():
        _function(native, name).argtypes = arguments
    size_of = _function(native, "kernels_size_of")
    size_of.restype = _LONG
    from kernels.native_tables import layout_sizes

    if [size_of(which) for which in range(len(layout_sizes()) + 1)] != [*layout_sizes(), -1]:
        raise _built_from_others(native)
    if wanted and (used := VARIANTS[native.kernels_choose_variant(VARIANTS.index(wanted))]) != wanted:
        logger.warning("RISKAPP_KERNELS asks for %s, which this processor does not have: %s is in use", wanted, used)
    return native


def _function(native: ctypes.CDLL, name: str) -> Any:
    """Return a function of the library; RuntimeError where an older one lies there, without it."""
    try:
        return getattr(native, name)
    except AttributeError:
        raise _built_from_others(native) from None


def _built_from_others(native: ctypes.CDLL) -> RuntimeError:
    return RuntimeError(f"{Path(native._name).name} was built from other sources: run 'pip install -e .' again")


def has_compiled_kernels() -> bool:
    """Return whether the compiled kernels do the work."""
    return library() is not None


def cpu_variant() -> str:
    """Return what does the work: "reference", or one of VARIANTS."""
    native = library()
    return "reference" if native is None else VARIANTS[native.kernels_variant()]


def pointer(array) -> ctypes.c_void_p:
    """Return the address of a NumPy array's first element."""
    return ctypes.c_void_p(array.ctypes.data)


_from_buffer, _address_of = ctypes.c_char.from_buffer, ctypes.addressof


def address(array: np.ndarray) -> int:
    """Return what `pointer` does as a number, in a quarter of the time where the array is contiguous and may be written to."""
    try:
        return _address_of(_from_buffer(array))
    except (TypeError, ValueError, BufferError):  # read-only, strided, or without elements
        return array.ctypes.data


@functools.cache
def brief_library() -> ctypes.PyDLL | None:
    """Return the same library for calls of microseconds, which keep the interpreter lock.

    Giving the lock away costs more than such a call: a thread that takes it need not give it back for milliseconds.
    """
    native = library()
    return None if native is None else ctypes.PyDLL(native._name)


def typed_libraries(signatures: dict[str, tuple[list, Any]]) -> tuple[ctypes.PyDLL, ctypes.CDLL]:
    """Return the library for brief calls, and the one whose calls give the interpreter lock away, with their functions typed.

    Args:
        signatures: name -> (types of the arguments, type of the result).

    Raises:
        KernelInputError: no compiled kernels are installed.
        RuntimeError: the library was built from other sources than these.
    """
    brief, long = brief_library(), library()
    if brief is None or long is None:
        raise KernelInputError("no compiled kernels are installed")
    for native in (brief, long):
        for name, (arguments, result) in signatures.items():
            function = _function(native, name)
            function.argtypes, function.restype = arguments, result
    return brief, long


def check(status: int) -> None:
    """Raise MemoryError where a kernel could not get its scratch memory."""
    if status:
        raise MemoryError("a scoring kernel found no memory for its scratch: score smaller batches, or free memory")


def owned_rows(x: np.ndarray) -> np.ndarray:
    """Return x, or a copy where its strides are not whole, positive numbers of elements."""
    fits = all(stride >= 0 and stride % x.itemsize == 0 for stride in x.strides) and x.flags.aligned
    return x if fits else np.ascontiguousarray(x)
