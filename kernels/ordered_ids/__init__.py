"""Ids that sort by the time of their making: version 7 UUIDs (RFC 9562, section 5.7), a whole batch at once.

The contract
------------
Id i of n: 48 bits of milliseconds since 1970; the version; 12 bits that count up from `first` (method 1 of section 6.2: the
ids of a batch stand in their order, so that an index grows at its end); the variant; 62 random bits. Its key is the last 48
of these. `random` gives 8 bytes an id, the upper two bits of which are not used.
"""

from __future__ import annotations

import ctypes
import functools

import numpy as np

from kernels.errors import KernelInputError
from kernels.native import address, library, typed_libraries

ID_BYTES, RANDOM_BYTES = 36, 8
_P, _N, _U = ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint64
_SIGNATURES = {"ordered_ids": ([_U, _U, _N, ctypes.c_char_p, _P, _P], None)}


def ordered_ids(milliseconds: int, first: int, random: bytes) -> tuple[bytes, np.ndarray]:
    """Return the texts of n ids, 36 bytes each and one behind the other, and their keys, uint64 [n].

    Args:
        milliseconds: since 1970, below 2**48.
        first: where the count begins, below 2**12; a start in the lower half leaves room for 2,048 ids in order.
        random: 8 n random bytes.

    Raises:
        KernelInputError: a number is out of its range, or `random` is not of whole ids.
    """
    n, rest = divmod(len(random), RANDOM_BYTES)
    if rest or not 0 <= milliseconds < 1 << 48 or not 0 <= first < 1 << 12:
        raise KernelInputError("ids need milliseconds in 48 bits, a first count in 12 bits and 8 random bytes each")
    if library() is None:
        from kernels.ordered_ids import reference

        text, keys = reference.ordered_ids(milliseconds, first, random)
        return text, np.array(keys, np.uint64)
    text, keys = bytearray(ID_BYTES * n), np.empty(n, np.uint64)
    if n:
        place = ctypes.addressof(ctypes.c_char.from_buffer(text))
        _brief().ordered_ids(milliseconds, first, n, random, place, address(keys))
    return bytes(text), keys


@functools.cache
def _brief() -> ctypes.PyDLL:
    return typed_libraries(_SIGNATURES)[0]


__all__ = ["ID_BYTES", "RANDOM_BYTES", "ordered_ids"]
