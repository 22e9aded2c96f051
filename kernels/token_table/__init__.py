"""Strings to numbers, a batch at a time; and sets of ids that were met.

The contract
------------
* A table numbers strings from 0 in the order of first sight. A string is its bytes; an empty one is a string like others.
* A string of length < 0 is absent: ABSENT. A new one that is not to be remembered is UNKNOWN and leaves no trace.
* Strings come as spans of one text: `starts` and `lengths`, in bytes. A span that is not inside the text is refused; strings
  before it may have been numbered by then.
* A pair of codes is numbered likewise: ABSENT where a part is absent, else UNKNOWN where a part is unknown.
* An IdSet knows 64-bit hashes alone: "maybe known" may be wrong (once in 10^11 look-ups among 10^8 ids), "not known" never is.

The strings may be chosen by an attacker: the hash has a random key, equal hashes are told apart by the bytes.

A table has one writer; `tokens` may be called by another thread meanwhile.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kernels.errors import KernelInputError
from kernels.native import address, brief_library, library

ABSENT = -1
UNKNOWN = -2
MAX_TEXT_BYTES = 2**31 - 1
# More look-ups than this in a call take long enough to let other threads run meanwhile.
_BRIEF = 512

_P, _N, _K = ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint64
_SIGNATURES = {
    "token_table_create": ([_K, _K], _P),
    "token_table_destroy": ([_P], None),
    "token_table_count": ([_P], _N),
    "token_table_memory": ([_P], _N),
    "token_table_codes": ([_P, _P, _N, _N, ctypes.c_char_p, _N, _P, _P, _N, _P, _P, _N], ctypes.c_int),
    "token_table_pair_codes": ([_P, _N, _P, _N, _P, _N, _P, _P], ctypes.c_int),
    "token_table_entities": ([_P, _P, _N, _N, _P, _N, _P, _P, _P, _P], ctypes.c_int),
    "token_table_export": ([_P, _N, _N, _P, _P], _N),
    "id_set_create": ([_K, _K], _P),
    "id_set_destroy": ([_P], None),
    "id_set_count": ([_P], _N),
    "id_set_memory": ([_P], _N),
    "id_set_visit": ([_P, _N, ctypes.c_char_p, _N, _P, _N, _P, _N, _P], ctypes.c_int),
}


@dataclass(frozen=True)
class EntityPlan:
    """How the entities of a row follow from the codes of its fields.

    Attributes:
        kinds: for each kind of entity (field, second field, counted field, class): positions of the fields whose codes name
            the entity and its counterpart, and the class that a row must have to name one; -1 for none.
    """

    kinds: tuple[tuple[int, int, int, int], ...]

    def check(self, fields: int) -> None:
        """Raise KernelInputError where a kind names a field that is not there."""
        for kind in self.kinds:
            if not 0 <= kind[0] < fields or any(position >= fields for position in kind[1:3]):
                raise KernelInputError(f"a kind of entity names a field beyond the {fields} there are: {kind}")


class TokenTable(Protocol):
    """Numbers strings, or pairs of numbers; which of the two must not change over its life."""

    def __len__(self) -> int: ...

    def codes(self, text: bytes, starts: np.ndarray, lengths: np.ndarray, remember: np.ndarray | bool) -> np.ndarray:
        """Return the numbers of n strings, int32 [n]; starts and lengths are int32 [n], of any stride."""

    def pair_codes(self, first: np.ndarray, second: np.ndarray, remember: np.ndarray | bool) -> np.ndarray:
        """Return the numbers of n pairs of int32 codes, int32 [n]."""

    def tokens(self, first: int, count: int) -> tuple[bytes, np.ndarray]:
        """Return the bytes of strings first, ..., first + count - 1 end to end, and their lengths, int32 [count]."""

    def memory_bytes(self) -> int: ...


class IdSet(Protocol):
    """A set of ids that may say "maybe" where it should say no, and never no where it should say yes."""

    def __len__(self) -> int: ...

    def contains(self, text: bytes, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Return uint8 [n]: 1 where the id may have been added, 0 where it was not, or is absent."""

    def add(self, text: bytes, starts: np.ndarray, lengths: np.ndarray) -> None:
        """Put n ids into the set."""

    def memory_bytes(self) -> int: ...


def open_token_table() -> TokenTable:
    """Return an empty table: compiled where possible, else the reference."""
    if library() is None:
        from kernels.token_table.reference import ReferenceTokenTable

        return ReferenceTokenTable()
    return NativeTokenTable()


def open_id_set() -> IdSet:
    """Return an empty set: compiled where possible, else the reference."""
    if library() is None:
        from kernels.token_table.reference import ReferenceIdSet

        return ReferenceIdSet()
    return NativeIdSet()


def spans_of(tokens: Sequence[str | bytes | None]) -> tuple[bytes, np.ndarray, np.ndarray]:
    """Return strings as (text, starts, lengths), as tables and sets read them; None is absent."""
    parts = [b"" if t is None else t.encode() if isinstance(t, str) else t for t in tokens]
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    ends = np.cumsum(lengths)
    if len(ends) and ends[-1] > MAX_TEXT_BYTES:
        raise KernelInputError(f"the strings of a call may take {MAX_TEXT_BYTES} bytes; got {ends[-1]}: make several calls")
    absent = np.fromiter((t is None for t in tokens), bool, len(parts))
    return b"".join(parts), (ends - lengths).astype(np.int32), np.where(absent, ABSENT, lengths).astype(np.int32)


def token_codes(
    tables: Sequence[TokenTable],
    columns: Sequence[int],
    text: bytes,
    starts: np.ndarray,
    lengths: np.ndarray,
    remember: np.ndarray,
    spare: int = 0,
) -> np.ndarray:
    """Return codes int32 [n, len(tables) + spare]: the string of row i for table t is the span in column columns[t].

    Args:
        starts, lengths: int32 [n, T], C-contiguous.
        remember: bool or uint8 [n].
        spare: so many last columns are left for the caller to fill.

    Raises:
        KernelInputError: a shape, a dtype, or a span outside the text.
        MemoryError: there is none left.
    """
    rows, width = _check_spans(starts, lengths)
    if len(columns) != len(tables) or any(not 0 <= column < width for column in columns):
        raise KernelInputError(f"expected a column of 0 to {width - 1} for each of {len(tables)} tables; got {list(columns)}")
    remember = _flags(remember, rows)
    codes = np.empty((rows, len(tables) + spare), np.int32)
    if not all(isinstance(table, NativeTokenTable) for table in tables):
        for t, (table, column) in enumerate(zip(tables, columns, strict=True)):
            codes[:, t] = table.codes(text, starts[:, column], lengths[:, column], remember)
        return codes
    handles, places = _handles(tables), _places(tuple(columns))
    _check(
        _native(codes.size).token_table_codes(
            handles[1], places[1], len(tables), rows, text, len(text), address(starts), address(lengths), width,
            address(remember), address(codes), codes.shape[1],
        )
    )  # fmt: skip
    return codes


def entities_of(
    plan: EntityPlan,
    pairs: Sequence[TokenTable | None],
    codes: np.ndarray,
    classes: np.ndarray,
    remember: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (entities, counterparts), both int32 [n, kinds], of n rows.

    Args:
        pairs: the table of each kind that is named by two fields, None for the others.
        codes: int32 [n, fields], C-contiguous.
        classes: int32 [n], the class of each row.
        remember: bool or uint8 [n].
    """
    rows, fields = codes.shape
    plan.check(fields)
    if [table is not None for table in pairs] != [kind[1] >= 0 for kind in plan.kinds]:
        raise KernelInputError("expected a table for each kind that is named by two fields, and None for the others")
    right = codes.dtype == classes.dtype == np.int32 and classes.shape == (rows,)
    if not (right and codes.flags.c_contiguous and classes.flags.c_contiguous):
        raise KernelInputError(f"expected codes int32 [{rows}, {fields}] and classes int32 [{rows}], C-contiguous")
    remember = _flags(remember, rows)
    if not all(table is None or isinstance(table, NativeTokenTable) for table in pairs) or library() is None:
        from kernels.token_table.reference import entities_of as plain

        return plain(plan, pairs, codes, classes, remember)
    entities, others = np.empty((rows, len(plan.kinds)), np.int32), np.empty((rows, len(plan.kinds)), np.int32)
    _check(
        _native(entities.size).token_table_entities(
            _plan_array(plan)[1], _handles(pairs)[1], len(plan.kinds), rows, address(codes), fields,
            address(classes), address(remember), address(entities), address(others),
        )
    )  # fmt: skip
    return entities, others


class NativeTokenTable:
    """The table of cpu.c."""

    def __init__(self) -> None:
        native = _native(0)
        self._handle = native.token_table_create(*_process_key())
        if not self._handle:
            raise MemoryError("no memory for a token table")
        self._destroy = native.token_table_destroy

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._destroy(self._handle)

    def __len__(self) -> int:
        return _native(0).token_table_count(self._handle)

    def codes(self, text: bytes, starts: np.ndarray, lengths: np.ndarray, remember: np.ndarray | bool) -> np.ndarray:
        rows = _check_columns(starts, lengths)
        starts, lengths = (np.ascontiguousarray(array).reshape(rows, 1) for array in (starts, lengths))
        return token_codes((self,), (0,), text, starts, lengths, _flags(remember, rows)).reshape(rows)

    def pair_codes(self, first: np.ndarray, second: np.ndarray, remember: np.ndarray | bool) -> np.ndarray:
        rows = _check_columns(first, second)
        codes, flags = np.empty(rows, np.int32), _flags(remember, rows)
        _check(
            _native(rows).token_table_pair_codes(
                self._handle, rows, first.ctypes.data, first.strides[0] // 4, second.ctypes.data, second.strides[0] // 4,
                address(flags), address(codes),
            )
        )  # fmt: skip
        return codes

    def tokens(self, first: int, count: int) -> tuple[bytes, np.ndarray]:
        if first < 0 or count < 0 or first + count > len(self):
            raise KernelInputError(f"the table has the strings 0 to {len(self) - 1}; got {first} and {count} more")
        native = library()
        lengths = np.empty(count, np.int32)
        room = np.empty(native.token_table_export(self._handle, first, count, None, None), np.uint8)
        native.token_table_export(self._handle, first, count, address(room), address(lengths))
        return room.tobytes(), lengths

    def memory_bytes(self) -> int:
        return _native(0).token_table_memory(self._handle)


class NativeIdSet:
    """The set of cpu.c."""

    def __init__(self) -> None:
        native = _native(0)
        self._handle = native.id_set_create(*_process_key())
        if not self._handle:
            raise MemoryError("no memory for a set of ids")
        self._destroy = native.id_set_destroy

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._destroy(self._handle)

    def __len__(self) -> int:
        return _native(0).id_set_count(self._handle)

    def contains(self, text: bytes, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        found = np.empty(_check_columns(starts, lengths), np.uint8)
        self._visit(text, starts, lengths, address(found))
        return found

    def add(self, text: bytes, starts: np.ndarray, lengths: np.ndarray) -> None:
        self._visit(text, starts, lengths, None)

    def _visit(self, text: bytes, starts: np.ndarray, lengths: np.ndarray, found: int | None) -> None:
        rows = _check_columns(starts, lengths)
        _check(
            _native(rows).id_set_visit(
                self._handle, rows, text, len(text), starts.ctypes.data, starts.strides[0] // 4, lengths.ctypes.data,
                lengths.strides[0] // 4, found,
            )
        )  # fmt: skip

    def memory_bytes(self) -> int:
        return _native(0).id_set_memory(self._handle)


# --- what the calls share ------------------------------------------------------------------------------------------------


@functools.cache
def _libraries() -> tuple[ctypes.CDLL, ctypes.CDLL]:
    """Return the library for calls that keep the interpreter lock, and for those that give it away."""
    brief, long = brief_library(), library()
    if brief is None or long is None:
        raise KernelInputError("no compiled kernels are installed")
    for native in (brief, long):
        for name, (arguments, result) in _SIGNATURES.items():
            function = getattr(native, name)
            function.argtypes, function.restype = arguments, result
    return brief, long


def _native(look_ups: int) -> ctypes.CDLL:
    return _libraries()[look_ups > _BRIEF]


@functools.cache
def _process_key() -> tuple[int, int]:
    """Return the key of the hash: nobody outside can know which strings meet in one slot."""
    random = os.urandom(16)
    return int.from_bytes(random[:8], "little"), int.from_bytes(random[8:], "little")


def _kept(array: np.ndarray) -> tuple[np.ndarray, int]:
    return array, array.ctypes.data


@functools.lru_cache(maxsize=64)
def _plan_array(plan: EntityPlan) -> tuple[np.ndarray, int]:
    return _kept(np.array(plan.kinds, np.int32).reshape(-1, 4))


@functools.lru_cache(maxsize=64)
def _places(columns: tuple[int, ...]) -> tuple[np.ndarray, int]:
    return _kept(np.array(columns, np.int64))


def _handles(tables: Sequence[TokenTable | None]) -> tuple[np.ndarray, int]:
    return _kept(np.array([0 if table is None else table._handle for table in tables], np.uint64))


def _flags(remember: np.ndarray | bool, rows: int) -> np.ndarray:
    """Return uint8 [rows]."""
    if isinstance(remember, bool):
        return np.full(rows, remember, np.uint8)
    if remember.dtype not in (np.uint8, np.bool_) or remember.shape != (rows,):
        raise KernelInputError(f"remember must be bool or uint8 [{rows}]; got {remember.dtype} {remember.shape}")
    return np.ascontiguousarray(remember).view(np.uint8)


def _check_spans(starts: np.ndarray, lengths: np.ndarray) -> tuple[int, int]:
    for array in (starts, lengths):
        if array.dtype != np.int32 or array.ndim != 2 or array.shape != starts.shape or not array.flags.c_contiguous:
            raise KernelInputError(f"starts and lengths must be C-contiguous int32 [n, T]; got {array.dtype} {array.shape}")
    return starts.shape


def _check_columns(first: np.ndarray, second: np.ndarray) -> int:
    for array in (first, second):
        if array.dtype != np.int32 or array.ndim != 1 or array.shape != first.shape:
            got = f"{first.dtype} {first.shape}, {second.dtype} {second.shape}"
            raise KernelInputError(f"expected two int32 [n] arrays; got {got}")
    return len(first)


_OUTSIDE = 2


def _check(status: int) -> None:
    if status == _OUTSIDE:
        raise KernelInputError("a span lies outside the text")
    if status:
        raise MemoryError("no memory for new tokens or ids; more memory is needed")
