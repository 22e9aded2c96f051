"""The entity index's rows: which decisions of one stretch of the ledger name an entity whose hash falls into one bucket."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np

BUCKETS = 64
# A decision is counted from the first of its stretch, in 32 bits.
MOST_NUMBERS = 1 << 32


def hash_of(entity: str) -> int:
    """Return the CRC-32 of an entity's name. Two may share it: who looks one up has to compare the names."""
    return zlib.crc32(entity.encode())


def bucket_of(entity: str) -> int:
    """Return the number of an entity's bucket, below BUCKETS."""
    return hash_of(entity) % BUCKETS


def pack_segments(entities: Sequence[str], seqs: np.ndarray) -> Iterator[tuple[int, bytes]]:
    """Yield (bucket, entries) for each bucket that has any.

    Args:
        entities: [n], one at least; empty where a decision names none.
        seqs: [n] int64 ascending; all lie within MOST_NUMBERS of the first.
    """
    hashes = np.array([zlib.crc32(entity.encode()) if entity else -1 for entity in entities], np.int64)
    named = np.flatnonzero(hashes >= 0)
    hashes, counted = hashes[named].astype("<u4"), (seqs[named] - seqs[0]).astype("<u4")
    buckets = hashes % BUCKETS
    order = np.lexsort((counted, hashes, buckets))
    hashes, counted = hashes[order], counted[order]
    ends = np.searchsorted(buckets[order], np.arange(BUCKETS + 1)).tolist()
    for bucket, (start, end) in enumerate(zip(ends, ends[1:], strict=False)):
        if start < end:
            yield bucket, hashes[start:end].tobytes() + counted[start:end].tobytes()


def find_in_segment(entries: bytes, first_seq: int, entity_hash: int) -> np.ndarray:
    """Return the decisions, int64 ascending, that one segment has under a hash."""
    hashes, counted = np.frombuffer(entries, "<u4").reshape(2, -1)
    start, end = np.searchsorted(hashes, np.array([entity_hash, entity_hash + 1], np.int64)).tolist()
    return counted[start:end].astype(np.int64) + first_seq
