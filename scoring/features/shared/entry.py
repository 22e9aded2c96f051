"""Entries of the shared log: what one process tells all others about a batch, as bytes.

Layout, little-endian: "RE", version, kind, count (uint32), owner (uint64), number (uint64); then a uint64 key an event, a
uint32 end an event, and the canonical texts of the transactions one after the other, each ending at its end.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

_HEADER = struct.Struct("<2sBBIQQ")
_MAGIC = b"RE"
_VERSION = 1
# Nobody's: retractions on behalf of a process that is gone.
NOBODY = 0


class UnreadableEntry(ValueError):
    """The bytes are not an entry of this version: another release of this application, or something else, wrote them."""


class EntryKind(IntEnum):
    """What an entry says of its transactions."""

    EVENTS = 1  # they are new
    RETRACTION = 2  # they were never decided after all
    LATE_EVENTS = 3  # they were decided while their owner could not reach the log, and may be known from the ledger


@dataclass(frozen=True)
class Entry:
    """One entry.

    Attributes:
        kind: see EntryKind.
        owner: the membership that wrote it.
        number: 1 for the owner's first entry, and so on without gaps: an entry that is sent twice is appended once.
        keys: [n] uint64 event keys.
        texts: n canonical transactions.
    """

    kind: EntryKind
    owner: int
    number: int
    keys: np.ndarray
    texts: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.texts)

    def part(self, chosen: np.ndarray) -> Entry:
        """Return the entry with those transactions alone for which `chosen` (bool [n]) holds."""
        return Entry(self.kind, self.owner, self.number, self.keys[chosen], list(itertools.compress(self.texts, chosen)))


def encode(entry: Entry) -> bytes:
    """Return the entry as bytes."""
    header = _HEADER.pack(_MAGIC, _VERSION, entry.kind, len(entry.texts), entry.owner, entry.number)
    ends = np.fromiter(itertools.accumulate(map(len, entry.texts)), np.uint32, len(entry.texts))
    numbers = (entry.keys.astype("<u8", copy=False).tobytes(), ends.astype("<u4", copy=False).tobytes())
    return b"".join((header, *numbers, *entry.texts))


def owner_of(data: bytes) -> tuple[int, int]:
    """Return (owner, number) without reading the rest.

    Raises:
        UnreadableEntry: see there.
    """
    _, _, owner, number = _header(data)
    return owner, number


def decode(data: bytes) -> Entry:
    """Return the entry that `encode` wrote.

    Raises:
        UnreadableEntry: see there.
    """
    kind, count, owner, number = _header(data)
    keys_end = _HEADER.size + 8 * count
    texts_start = keys_end + 4 * count
    if len(data) < texts_start:
        raise UnreadableEntry(f"an entry of {count} transactions has {len(data)} bytes")
    keys = np.frombuffer(data, "<u8", count, _HEADER.size).astype(np.uint64, copy=False)
    ends = np.frombuffer(data, "<u4", count, keys_end).tolist()
    if texts_start + (ends[-1] if ends else 0) != len(data) or sorted(ends) != ends:
        raise UnreadableEntry("the texts of an entry do not fill it")
    edges = [texts_start, *(texts_start + end for end in ends)]
    texts = [data[start:end] for start, end in itertools.pairwise(edges)]
    return Entry(kind, owner, number, keys, texts)


def _header(data: bytes) -> tuple[EntryKind, int, int, int]:
    if len(data) < _HEADER.size:
        raise UnreadableEntry(f"an entry has at least {_HEADER.size} bytes; got {len(data)}")
    magic, version, kind, count, owner, number = _HEADER.unpack_from(data)
    if magic != _MAGIC or version != _VERSION or kind not in _KINDS:
        raise UnreadableEntry(f"not an entry of version {_VERSION}: it begins with {data[:4]!r}")
    return EntryKind(kind), count, owner, number


_KINDS = frozenset(EntryKind)
