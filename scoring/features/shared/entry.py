"""Entries of the shared log: what one process tells all others about a batch, as bytes.

Layout, little-endian: "RE", version, kind, count (uint32), owner (uint64), number (uint64); then a uint64 key an event, a
uint32 end an event, and the canonical texts of the transactions one after the other, each ending at its end.
"""

from __future__ import annotations

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


_KINDS = frozenset(EntryKind)


@dataclass(frozen=True)
class Entry:
    """One entry of n transactions.

    Attributes:
        kind: see EntryKind.
        owner: the membership that wrote it.
        number: 1 for the owner's first entry, and so on without gaps: an entry that is sent twice is appended once.
        keys: [n] uint64 event keys.
        text: holds the canonical transactions, as the ledger keeps them.
        ends: int64 [n + 1]: text[ends[i]:ends[i + 1]] is the i-th.
    """

    kind: EntryKind
    owner: int
    number: int
    keys: np.ndarray
    text: bytes
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def texts(self) -> list[bytes]:
        """The transactions one by one."""
        ends = self.ends.tolist()
        return [self.text[start:end] for start, end in zip(ends, ends[1:], strict=False)]

    def part(self, chosen: np.ndarray) -> Entry:
        """Return the entry with those transactions alone for which `chosen` (bool [n]) holds."""
        texts = self.texts
        return entry_of(self.kind, self.keys[chosen], [texts[i] for i in np.flatnonzero(chosen).tolist()])


def entry_of(kind: EntryKind, keys: Sequence[int], texts: Sequence[bytes]) -> Entry:
    """Return an entry that has no owner and no number yet."""
    ends = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=ends[1:])
    return Entry(kind, NOBODY, 0, np.array(keys, np.uint64), b"".join(texts), ends)


def encode(entry: Entry) -> bytes:
    """Return the entry as bytes."""
    header = _HEADER.pack(_MAGIC, _VERSION, entry.kind, len(entry), entry.owner, entry.number)
    start, end = int(entry.ends[0]), int(entry.ends[-1])
    ends = (entry.ends[1:] - start).astype("<u4")
    text = entry.text if start == 0 and end == len(entry.text) else entry.text[start:end]
    return b"".join((header, entry.keys.astype("<u8", copy=False).tobytes(), ends.tobytes(), text))


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
    text_start = keys_end + 4 * count
    if len(data) < text_start:
        raise UnreadableEntry(f"an entry of {count} transactions has {len(data)} bytes")
    keys = np.frombuffer(data, "<u8", count, _HEADER.size).astype(np.uint64, copy=False)
    ends = np.full(count + 1, text_start, np.int64)
    ends[1:] += np.frombuffer(data, "<u4", count, keys_end)
    if ends[-1] != len(data) or (ends[1:] < ends[:-1]).any():
        raise UnreadableEntry("the texts of an entry do not fill it")
    return Entry(kind, owner, number, keys, data, ends)


def _header(data: bytes) -> tuple[EntryKind, int, int, int]:
    if len(data) < _HEADER.size:
        raise UnreadableEntry(f"an entry has at least {_HEADER.size} bytes; got {len(data)}")
    magic, version, kind, count, owner, number = _HEADER.unpack_from(data)
    if magic != _MAGIC or version != _VERSION or kind not in _KINDS:
        raise UnreadableEntry(f"not an entry of version {_VERSION}: it begins with {data[:4]!r}")
    return EntryKind(kind), count, owner, number
