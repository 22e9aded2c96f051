"""The plain form of the kernel: one id after the other, by Python's own UUIDs."""

from __future__ import annotations

from uuid import UUID

_COUNTS = 1 << 12


def ordered_ids(milliseconds: int, first: int, random: bytes) -> tuple[bytes, list[int]]:
    """Return the ids' texts one behind the other, and their keys."""
    texts, keys = [], []
    for i in range(len(random) // 8):
        drawn = int.from_bytes(random[8 * i : 8 * i + 8]) & ~(3 << 62)
        whole = UUID(int=milliseconds << 80 | 7 << 76 | (first + i) % _COUNTS << 64 | 2 << 62 | drawn)
        texts.append(str(whole))
        keys.append(whole.node)
    return "".join(texts).encode(), keys
