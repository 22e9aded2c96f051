"""Inputs of the operations that work on decided rows, and how both implementations of each run."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import numpy as np

from kernels.decide_rows import Costs, DecideTable, RowFlags, decide_rows
from kernels.decide_rows import reference as decide_reference
from kernels.ordered_ids import ordered_ids
from kernels.ordered_ids import reference as ids_reference
from kernels.score_rows import ScoredRows
from kernels.sqlite_rows import open_writer
from kernels.sqlite_rows.reference import PlainWriter
from kernels.table_rows import Array, Constant, FieldType, Joined, Number, PackedRow, RowLayout, Slice
from kernels.table_rows import reference as rows_reference
from kernels.tables import RuleBits

Arrays = tuple[np.ndarray, ...]
_RULES, _FLAGS = 3, RowFlags(128, 64, 2, 16)
_COSTS = Costs(1.0, 1_500.0, 0.02, 2_500.0, 600.0, 0.5, 0.05, 800.0, 15.0, 0.3, 0.03)
_DECIDE = DecideTable(
    1.5, -0.25, _COSTS, np.array([1, 3, 4], np.uint8), np.array([0, 2, 2], np.uint8), np.array([0.9, 0.5, 0.2]), True
)
_WIDTH = 4


def decide_arrays(rows: int) -> Arrays:
    """Margins (some NaN), rule codes, amounts and lateness."""
    rng = np.random.default_rng(rows)
    margin = rng.normal(-3, 4, rows).astype(np.float32)
    margin[::9] = np.nan
    codes = rng.choice(4, (rows, _RULES), p=[0.7, 0.1, 0.1, 0.1]).astype(np.uint8)
    return margin, codes, rng.integers(0, 10**7, rows), rng.random(rows) < 0.1


def decide_fast(margin: np.ndarray, codes: np.ndarray, amount: np.ndarray, late: np.ndarray) -> Arrays:
    bits = RuleBits(*(_words(codes == code) for code in (1, 2, 3)))
    top = np.zeros((len(margin), 1), np.int32)
    scored = ScoredRows.of(margin, bits, top, np.zeros(top.shape, np.float32))
    found = decide_rows(_DECIDE, scored, np.zeros((len(margin), 2), np.float32), amount, late, _FLAGS, 5_000)
    return found.probability, found.risk, found.score, found.stamps, found.outcome, found.cost_outcome


def decide_plain(margin: np.ndarray, codes: np.ndarray, amount: np.ndarray, late: np.ndarray) -> Arrays:
    return decide_reference.decide_rows(_DECIDE, margin, codes, amount, late, _FLAGS, 5_000)


def _words(is_set: np.ndarray) -> np.ndarray:
    padded = np.zeros((len(is_set), 64), np.uint8)
    padded[:, : is_set.shape[1]] = is_set
    return np.packbits(padded, axis=1, bitorder="little").view(np.uint64)


def id_arrays(rows: int) -> Arrays:
    return (np.random.default_rng(rows).integers(0, 256, 8 * rows, np.uint8),)


def ids_fast(random: np.ndarray) -> Arrays:
    text, keys = ordered_ids(1_764_500_000_123, 7, random.tobytes())
    return np.frombuffer(text, np.uint8), keys


def ids_plain(random: np.ndarray) -> Arrays:
    text, keys = ids_reference.ordered_ids(1_764_500_000_123, 7, random.tobytes())
    return np.frombuffer(text, np.uint8), np.array(keys, np.uint64)


_ARRAYS = {"time": Array("i8"), "share": Array("f8"), "features": Array("f4", _WIDTH), "code": Array("u1")}
_COLUMNS = (
    (FieldType.TIMESTAMPTZ, Number("time")),
    (FieldType.DOUBLE, Number("share")),
    (FieldType.BYTEA, PackedRow("features")),
    (FieldType.SMALLINT, Number("code")),
    (FieldType.BYTEA, Joined(("code",))),
    (FieldType.TEXT, Slice(0, 2)),
    (FieldType.TEXT, Constant(None)),
)
_LAYOUT = RowLayout(_ARRAYS, _COLUMNS, texts=1)


def table_arrays(rows: int) -> Arrays:
    rng = np.random.default_rng(rows)
    share, features = rng.random(rows), rng.integers(0, 300, (rows, _WIDTH)).astype(np.float32)
    share[::4] = np.nan
    return rng.integers(0, 2**51, rows), share, features, rng.integers(0, 256, rows, np.uint8)


def rows_fast(*arrays: np.ndarray) -> Arrays:
    return (_LAYOUT.write(len(arrays[0]), arrays, (b"ab" * len(arrays[0]),)).stream,)


def rows_plain(*arrays: np.ndarray) -> Arrays:
    n = len(arrays[0])
    stream = rows_reference.write(_COLUMNS, n, dict(zip(_ARRAYS, arrays, strict=True)), (b"ab" * n,))
    return (np.frombuffer(stream, np.uint8),)


def inserted(make: Callable) -> Callable[..., Arrays]:
    """Return a run that stores rows in a database of its own, and gives what is read back, as bytes of its text."""

    def run(*arrays: np.ndarray) -> Arrays:
        session = sqlite3.connect(":memory:", isolation_level=None)
        session.execute("CREATE TABLE t (a, b, c, d, e, f, g)")
        writer, rows = make(session), _LAYOUT.write(len(arrays[0]), arrays, (b"ab" * len(arrays[0]),))
        writer.insert([("INSERT INTO t (a, b, c, d, e, f, g) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)], own_transaction=True)
        found = session.execute("SELECT * FROM t ORDER BY rowid").fetchall()
        writer.close()
        session.close()
        return (np.frombuffer(repr(found).encode(), np.uint8),)

    return run


sqlite_fast, sqlite_plain = inserted(open_writer), inserted(PlainWriter)
