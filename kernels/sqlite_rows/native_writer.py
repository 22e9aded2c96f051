"""The writer of cpu.c, in the sessions of Python's own sqlite3 module."""

from __future__ import annotations

import _sqlite3
import ctypes
import functools
import logging
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from kernels.errors import KernelInputError
from kernels.native import address, library
from kernels.table_rows import FieldType, TableRows

logger = logging.getLogger(__name__)

_POINTER, _LONG, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
_CALLS = (
    "auto_extension", "create_function_v2", "context_db_handle", "result_int64", "prepare_v3", "step", "reset", "clear_bindings",
    "finalize", "bind_text", "bind_blob", "bind_int64", "bind_double", "bind_null", "extended_errcode", "errmsg",
    "get_autocommit", "db_mutex", "mutex_enter", "mutex_leave",
)  # fmt: skip
_MOST_MOMENTS, _MESSAGE_BYTES = 16, 256
_FULL = 2  # of PRAGMA synchronous: a commit waits for the disk
# SQLite keeps the address of the name.
_VFS = ctypes.create_string_buffer(b"gathered-log")
_registering = threading.Lock()
# As Modules/_sqlite/util.c of CPython, so that the same failure is the same exception whoever writes.
_ERRORS: dict[int, type[Exception]] = {
    **dict.fromkeys((sqlite3.SQLITE_INTERNAL, sqlite3.SQLITE_NOTFOUND), sqlite3.InternalError),
    sqlite3.SQLITE_NOMEM: MemoryError,
    **dict.fromkeys(
        (
            sqlite3.SQLITE_ERROR, sqlite3.SQLITE_PERM, sqlite3.SQLITE_ABORT, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED,
            sqlite3.SQLITE_READONLY, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL,
            sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_EMPTY, sqlite3.SQLITE_SCHEMA,
        ),
        sqlite3.OperationalError,
    ),
    sqlite3.SQLITE_TOOBIG: sqlite3.DataError,
    **dict.fromkeys((sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH), sqlite3.IntegrityError),
    **dict.fromkeys((sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_RANGE), sqlite3.InterfaceError),
}  # fmt: skip


class _Table(ctypes.Structure):
    _fields_ = [("insert", _POINTER), ("types", ctypes.c_char_p), ("columns", _LONG), ("rows", _LONG), ("stream", _POINTER)]


@functools.cache
def native_calls() -> ctypes.CDLL | None:
    """Return the library where it can write in sessions that are opened from now on; None, said once, where it cannot.

    It can where the functions of SQLite are found, and where they are those of the very library that Python's sqlite3
    works with: a session that is opened to try it shows that.
    """
    native = library()
    if native is None:
        return None
    try:
        with _registering:
            _register(native)
        session = sqlite3.connect(":memory:")
        try:
            _handle_of(session)
        finally:
            session.close()
    except (OSError, AttributeError, sqlite3.Error) as error:
        logger.warning("SQLite cannot be reached past Python's sqlite3, which stores decisions several times slower: %s", error)
        return None
    return native


def _register(native: ctypes.CDLL) -> None:
    """Let SQLite add session_handle() to all sessions that it opens from now on.

    Raises:
        OSError, AttributeError: a function of SQLite is not found.
        RuntimeError: the kernels were built from other sources than these.
    """
    native.sqlite_rows_size.restype = _LONG
    if native.sqlite_rows_size() != 1000 * ctypes.sizeof(_POINTER) * len(_CALLS) + ctypes.sizeof(_Table):
        raise RuntimeError("the compiled kernels were built from other sources: run 'pip install -e .' again")
    native.sqlite_rows_prepare.argtypes = [_POINTER, ctypes.c_char_p, _INT, _POINTER]
    native.sqlite_rows_finalize.argtypes = [_POINTER]
    native.sqlite_rows_fault.argtypes = [_POINTER, ctypes.c_char_p]
    native.sqlite_rows_insert.argtypes = [_POINTER, _POINTER, _INT, _POINTER, _LONG, _POINTER, ctypes.c_char_p]
    native.gathered_log_register.argtypes = [_POINTER, _POINTER, _POINTER]
    # Looking a name up in a library searches those that it is linked with as well; where SQLite is a part of Python
    # itself, the module has no file, and the program is searched.
    sqlite = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
    found = [_address_in(sqlite, name) for name in _CALLS]
    if code := native.sqlite_rows_register((_POINTER * len(found))(*found)):
        raise OSError(f"sqlite3_auto_extension says {code}")
    if code := native.gathered_log_register(_address_in(sqlite, "vfs_find"), _address_in(sqlite, "vfs_register"), _VFS):
        raise OSError(f"sqlite3_vfs_register says {code}")


def _address_in(sqlite: ctypes.CDLL, name: str) -> ctypes.c_void_p:
    return ctypes.cast(getattr(sqlite, f"sqlite3_{name}"), _POINTER)


def gathering_address(path: str) -> str:
    """Return the URI under which SQLite opens the database at `path` with the VFS of gathered_log.c, once it is registered."""
    return f"{Path(path).absolute().as_uri()}?vfs={_VFS.value.decode()}"


def _handle_of(session: sqlite3.Connection) -> int:
    return session.execute("SELECT session_handle()").fetchone()[0]


class NativeWriter:
    """Inserts rows in a session with cpu.c; it keeps the statements that it prepared, so it must be closed first.

    The session's `synchronous` may not be lowered while there is a writer (see gathered_log.c).
    """

    def __init__(self, native: ctypes.CDLL, session: sqlite3.Connection) -> None:
        self._native = native
        self._statements: dict[str, int] = {}
        self._handle = _handle_of(session)
        self._types: dict[tuple[FieldType, ...], bytes] = {}
        session.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()  # SQLite may lower the level as it opens a log
        self._holds_log = session.execute("PRAGMA synchronous").fetchone()[0] >= _FULL
        self._own = (_POINTER * 3)(*map(self._prepared, ("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK")))

    def close(self) -> None:
        """Give the statements back; the writer is of no more use."""
        while self._statements:
            self._native.sqlite_rows_finalize(self._statements.popitem()[1])

    def __del__(self) -> None:
        self.close()

    def insert(self, tables: Sequence[tuple[str, TableRows]], *, own_transaction: bool) -> None:
        """See kernels.sqlite_rows.RowWriter."""
        described = (_Table * len(tables))(
            *[
                (self._prepared(sql), self._types_of(rows), len(rows.types), rows.count, address(rows.stream))
                for sql, rows in tables
            ]
        )
        fault, message = _INT(), ctypes.create_string_buffer(_MESSAGE_BYTES)
        own = self._own if own_transaction else None
        code = self._native.sqlite_rows_insert(
            self._handle, own, self._holds_log, described, len(tables), ctypes.byref(fault), message
        )
        if code:
            raise _error(fault.value or code, message.value)

    def _prepared(self, sql: str) -> int:
        if (known := self._statements.get(sql)) is not None:
            return known
        found, text = _POINTER(), sql.encode()
        if self._native.sqlite_rows_prepare(self._handle, text, len(text), ctypes.byref(found)):
            message = ctypes.create_string_buffer(_MESSAGE_BYTES)
            raise _error(self._native.sqlite_rows_fault(self._handle, message), message.value)
        self._statements[sql] = found.value
        return found.value

    def _types_of(self, rows: TableRows) -> bytes:
        if (known := self._types.get(rows.types)) is not None:
            return known
        if rows.types.count(FieldType.TIMESTAMPTZ) > _MOST_MOMENTS:
            raise KernelInputError(f"a table may have {_MOST_MOMENTS} columns of times")
        return self._types.setdefault(rows.types, bytes(rows.types))


def _error(code: int, message: bytes) -> Exception:
    error = _ERRORS.get(code & 0xFF, sqlite3.DatabaseError)(message.decode(errors="replace"))
    if isinstance(error, sqlite3.Error):
        error.sqlite_errorcode = code
    return error
