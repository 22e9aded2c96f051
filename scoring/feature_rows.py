"""The feature row that a decision was made on, as the ledger keeps it."""

from __future__ import annotations

import numpy as np

from scoring.engine import pack_rows, unpack_rows


def packed_row(row: np.ndarray) -> bytes:
    """Return one row [F] float32 as it is stored."""
    return pack_rows(row.reshape(1, -1))[0]


def stored_row(packed: bytes) -> np.ndarray:
    """Return a stored row [F] float32, of whatever schema it is; empty where none is stored.

    Raises:
        KernelInputError: the bytes are damaged.
    """
    packed = bytes(packed)
    return unpack_rows([packed], int.from_bytes(packed[1:3], "little"))[0] if packed else np.empty(0, np.float32)
