"""The feature state in a file, so that a start need not read the whole ledger again.

    magic, length of the header | header: JSON | its SHA-256
    blocks: tag, four numbers, CRC-32 of all that | arrays, little-endian
        TOKN  table, first, strings, bytes   | lengths int32, the strings end to end
        LOGS  kind, first row, rows, events  | lengths uint32, times, amounts int64, keys uint32, counterparts int32
        DONE  blocks before, strings, events |

The file appears under its name when it is whole and on disk. It holds identifiers of customers, so only its owner may read it.
Nothing that is read is trusted before its checksum is right, and one that is not right refuses the file as a whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from scoring.engine import EventLogs, KernelInputError, LogExport, TokenTable

FORMAT_VERSION = 1
_MAGIC = b"RISKFEATURESTATE"
_LENGTH = struct.Struct("<I")
_MAX_HEADER_BYTES = 1 << 16
_BLOCK = struct.Struct("<4s4q")
_CRC = struct.Struct("<I")
_TOKENS, _LOGS, _DONE = b"TOKN", b"LOGS", b"DONE"
_TOKENS_A_BLOCK = 8192
# The bytes of an event, and of an entity, in a LOGS block.
_EVENT_BYTES, _ROW_BYTES = 24, 4
# Writes are gathered: blocks are small, so that copying one holds nobody up.
_BUFFER_BYTES = 1 << 20


class StateFileRefused(Exception):
    """The file cannot be used; the message says why. The ledger has all that it held."""


@dataclass(frozen=True)
class LedgerPosition:
    """Up to where in the ledger a state has absorbed everything.

    Attributes:
        seq, decision_id: of the last decision contained.
        label_id: of the last label contained.
    """

    seq: int
    decision_id: str
    label_id: int


@dataclass(frozen=True)
class StateHeader:
    """What a file says of itself.

    Attributes:
        layout: digest of what the windows and tables mean.
        clock_us: the newest event time met, None where there was none.
    """

    layout: str
    position: LedgerPosition
    clock_us: int | None


def write_state(path: Path, header: StateHeader, tables: Sequence[TokenTable], sizes: Sequence[int], logs: LogExport) -> int:
    """Write the first `sizes` strings of each table and all logs, and put the file in its place. Return its bytes.

    The state may go on changing meanwhile.

    Raises:
        OSError: it could not be written; what was there before is left.
    """
    new = path.with_name(path.name + ".new")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb", buffering=_BUFFER_BYTES) as file:
            _write_header(file, header)
            blocks = strings = events = 0
            for table, (of, count) in enumerate(zip(tables, sizes, strict=True)):
                for first in range(0, count, _TOKENS_A_BLOCK):
                    text, lengths = of.tokens(first, min(_TOKENS_A_BLOCK, count - first))
                    _write_block(file, _TOKENS, (table, first, len(lengths), len(text)), (_little(lengths), text))
                    blocks, strings = blocks + 1, strings + len(lengths)
            for part in logs:
                arrays = (part.lengths, part.time_us, part.amount_minor, part.key, part.other)
                _write_block(file, _LOGS, (part.kind, part.first_row, len(part.lengths), len(part.key)), map(_little, arrays))
                blocks, events = blocks + 1, events + len(part.key)
            _write_block(file, _DONE, (blocks, strings, events, 0), ())
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        os.replace(new, path)
        _sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
    return size


def _little(array: np.ndarray) -> bytes:
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _write_header(file: BinaryIO, header: StateHeader) -> None:
    text = json.dumps({"format": FORMAT_VERSION, **asdict(header)}).encode()
    file.write(_MAGIC + _LENGTH.pack(len(text)) + text + hashlib.sha256(_MAGIC + _LENGTH.pack(len(text)) + text).digest())


def _write_block(file: BinaryIO, tag: bytes, numbers: tuple[int, int, int, int], parts: Sequence[bytes]) -> None:
    payload = b"".join(parts)
    head = _BLOCK.pack(tag, *numbers)
    file.write(head + _CRC.pack(zlib.crc32(payload, zlib.crc32(head))))
    file.write(payload)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- reading -------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def open_state_file(path: Path, layout: str) -> Iterator[tuple[StateHeader, BinaryIO]]:
    """Open a file for `read_blocks`, its header checked.

    Raises:
        FileNotFoundError: there is none.
        StateFileRefused: it is damaged, or of another format or layout.
    """
    with open(path, "rb", buffering=_BUFFER_BYTES) as file:
        yield _read_header(file, layout), file


def _read_header(file: BinaryIO, layout: str) -> StateHeader:
    magic = file.read(len(_MAGIC))
    if magic != _MAGIC:
        raise StateFileRefused("it is no feature state: it begins otherwise")
    packed = _exactly(file, _LENGTH.size)
    (length,) = _LENGTH.unpack(packed)
    if length > _MAX_HEADER_BYTES:
        raise StateFileRefused("its header is damaged")
    text = _exactly(file, length)
    if _exactly(file, hashlib.sha256().digest_size) != hashlib.sha256(magic + packed + text).digest():
        raise StateFileRefused("its header is damaged: the checksum differs")
    found = json.loads(text)
    if found.get("format") != FORMAT_VERSION:
        raise StateFileRefused(f"its format is {found.get('format')}; this version reads {FORMAT_VERSION}")
    if found["layout"] != layout:
        raise StateFileRefused("it was written for other features, windows or lateness")
    return StateHeader(found["layout"], LedgerPosition(**found["position"]), found["clock_us"])


def read_blocks(file: BinaryIO, tables: Sequence[TokenTable]) -> Iterator[EventLogs]:
    """Fill the empty tables and yield the logs of all entities.

    Raises:
        StateFileRefused: the file is damaged; what it filled must not be used.
    """
    left = os.fstat(file.fileno()).st_size - file.tell()
    blocks = strings = events = 0
    while True:
        head = _exactly(file, _BLOCK.size)
        (crc,) = _CRC.unpack(_exactly(file, _CRC.size))
        tag, first, second, third, fourth = _BLOCK.unpack(head)
        size = _payload_bytes(tag, third, fourth)
        left -= _BLOCK.size + _CRC.size + size
        if left < 0:
            raise StateFileRefused("it is cut short, or a block is damaged")
        payload = _exactly(file, size)
        if zlib.crc32(payload, zlib.crc32(head)) != crc:
            raise StateFileRefused(f"block {blocks} is damaged: the checksum differs")
        if tag == _DONE:
            if (first, second, third) != (blocks, strings, events) or left:
                raise StateFileRefused("it is not whole: blocks are missing, or something follows the last one")
            return
        blocks += 1
        if tag == _TOKENS:
            _read_tokens(tables, first, second, third, payload)
            strings += third
        else:
            events += fourth
            yield _logs(first, second, third, fourth, payload)


def _payload_bytes(tag: bytes, third: int, fourth: int) -> int:
    """Return how long a block is from its head; a damaged head gives some length, which the checksum finds out."""
    if tag == _DONE:
        return 0
    if tag not in (_TOKENS, _LOGS) or third < 0 or fourth < 0:
        raise StateFileRefused("a block is damaged: its head makes no sense")
    return third * 4 + fourth if tag == _TOKENS else third * _ROW_BYTES + fourth * _EVENT_BYTES


def _read_tokens(tables: Sequence[TokenTable], table: int, first: int, count: int, payload: bytes) -> None:
    lengths = np.frombuffer(payload, "<i4", count).astype(np.int32)
    text = payload[4 * count :]
    ends = np.cumsum(lengths, dtype=np.int64)
    if not 0 <= table < len(tables) or first != len(tables[table]) or ends[-1:].sum() != len(text):
        raise StateFileRefused("its tables are not in order")
    try:
        codes = tables[table].codes(text, (ends - lengths).astype(np.int32), lengths, True)
    except KernelInputError as error:
        raise StateFileRefused(f"a table is damaged: {error}") from None
    if not np.array_equal(codes, np.arange(first, first + count)):
        raise StateFileRefused("a table holds a string twice")


def _logs(kind: int, first_row: int, rows: int, events: int, payload: bytes) -> EventLogs:
    file, arrays = io.BytesIO(payload), []
    for dtype, count in (("<u4", rows), ("<i8", events), ("<i8", events), ("<u4", events), ("<i4", events)):
        array = np.frombuffer(file.read(np.dtype(dtype).itemsize * count), dtype)
        arrays.append(array.astype(array.dtype.newbyteorder("="), copy=False))
    return EventLogs(kind, first_row, *arrays)


def _exactly(file: BinaryIO, size: int) -> bytes:
    found = file.read(size)
    if len(found) != size:
        raise StateFileRefused("it is cut short")
    return found
