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
from kernels.native import address, library, typed_libraries

ABSENT = -1
UNKNOWN = -2
MAX_TEXT_BYTES = 2**31 - 1
MAX_FIELDS = 32
# More look-ups than this in a call take long enough to let other threads run meanwhile.
_BRIEF = 512

_P, _N, _K = ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint64
_SIGNATURES = {
    "token_table_create": ([_K, _K], _P),
    "token_table_destroy": ([_P], None),
    "token_table_count": ([_P], _N),
    "token_table_memory": ([_P], _N),
    "token_table_codes": ([_P, _N, ctypes.c_char_p, _N, _P, _N, _P, _N, _P, _P], ctypes.c_int),
    "token_table_pair_codes": ([_P, _N, _P, _N, _P, _N, _P, _P], ctypes.c_int),
    "entity_tables_of_codes": ([_P, _N, _P, _P, _P, _P, _P], ctypes.c_int),
    "entity_tables_of_text": ([_P, _N, ctypes.c_char_p, _N, _P, _P, _N, _P, _P, _P, _P, _P], ctypes.c_int),
    "token_table_export": ([_P, _N, _N, _P, _P], _N),
    "id_set_create": ([_K, _K], _P),
    "id_set_destroy": ([_P], None),
    "id_set_count": ([_P], _N),
    "id_set_memory": ([_P], _N),
    "id_set_visit": ([_P, _N, ctypes.c_char_p, _N, _P, _N, _P, _N, _P], ctypes.c_int),
}


@dataclass(frozen=True)
class EntityPlan:
    """How the entities of a row follow from its fields.

    Attributes:
        fields: how many fields a row has, at most MAX_FIELDS.
        kinds: for each kind of entity (field, second field, counted field, class): positions of the fields that name the
            entity and its counterpart, and the class that a row must have to name one; -1 for none.
    """

    fields: int
    kinds: tuple[tuple[int, int, int, int], ...]

    def __post_init__(self) -> None:
        if not 0 <= self.fields <= MAX_FIELDS:
            raise KernelInputError(f"a row has at most {MAX_FIELDS} fields; got {self.fields}")
        for kind in self.kinds:
            if not 0 <= kind[0] < self.fields or any(position >= self.fields for position in kind[1:3]):
                raise KernelInputError(f"a kind of entity names a field beyond the {self.fields} there are: {kind}")


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


class EntityTables(Protocol):
    """Numbers the entities of rows: one table a field, and one for each kind that two fields name.

    Attributes:
        tables: of the fields.
        pairs: of the kinds; None for a kind that one field names.
    """

    plan: EntityPlan
    tables: tuple[TokenTable, ...]
    pairs: tuple[TokenTable | None, ...]

    def of_text(
        self,
        text: bytes,
        starts: np.ndarray,
        lengths: np.ndarray,
        columns: tuple[int, ...],
        classes: np.ndarray,
        remember: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (entities, counterparts), both int32 [n, kinds].

        Args:
            starts, lengths: int32 [n, T], C-contiguous spans of the text.
            columns: where among the T the fields are.
            classes: int32 [n], the class of each row.
            remember: bool or uint8 [n].
        """

    def of_codes(self, codes: np.ndarray, classes: np.ndarray, remember: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the same from codes of the fields, int32 [n, fields]: the tables of the fields are not asked."""


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


def open_entity_tables(plan: EntityPlan) -> EntityTables:
    """Return empty tables: compiled where possible, else the reference."""
    if library() is None:
        from kernels.token_table.reference import ReferenceEntityTables

        return ReferenceEntityTables(plan)
    return NativeEntityTables(plan)


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
        rows = check_strings(starts, lengths)
        codes, flags = np.empty(rows, np.int32), flags_of(remember, rows)
        _check(
            _native(rows).token_table_codes(
                self._handle, rows, text, len(text), starts.ctypes.data, starts.strides[0] // 4, lengths.ctypes.data,
                lengths.strides[0] // 4, address(flags), address(codes),
            )
        )  # fmt: skip
        return codes

    def pair_codes(self, first: np.ndarray, second: np.ndarray, remember: np.ndarray | bool) -> np.ndarray:
        rows = check_strings(first, second)
        codes, flags = np.empty(rows, np.int32), flags_of(remember, rows)
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
        native = _native(count)
        lengths = np.empty(count, np.int32)
        room = np.empty(native.token_table_export(self._handle, first, count, None, None), np.uint8)
        native.token_table_export(self._handle, first, count, address(room), address(lengths))
        return room.tobytes(), lengths

    def memory_bytes(self) -> int:
        return _native(0).token_table_memory(self._handle)


class _Tables(ctypes.Structure):
    _fields_ = [("fields", _N), ("kinds", _N), ("tables", _P), ("plan", _P), ("pairs", _P)]


class NativeEntityTables:
    """The tables of cpu.c."""

    def __init__(self, plan: EntityPlan) -> None:
        self.plan = plan
        self.tables = tuple(NativeTokenTable() for _ in range(plan.fields))
        self.pairs = tuple(NativeTokenTable() if kind[1] >= 0 else None for kind in plan.kinds)
        self._arrays = (
            np.array([table._handle for table in self.tables], np.uint64),
            np.array(plan.kinds, np.int32).reshape(-1, 4),
            np.array([0 if table is None else table._handle for table in self.pairs], np.uint64),
        )
        self._struct = _Tables(plan.fields, len(plan.kinds), *(array.ctypes.data for array in self._arrays))
        self._handle = ctypes.addressof(self._struct)
        self._places: dict[tuple[int, ...], tuple[int, int, np.ndarray]] = {}
        self._brief, self._kinds = _BRIEF // max(1, plan.fields), len(plan.kinds)

    def of_text(
        self,
        text: bytes,
        starts: np.ndarray,
        lengths: np.ndarray,
        columns: tuple[int, ...],
        classes: np.ndarray,
        remember: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        rows, width = check_spans(starts, lengths)
        places = self._places.get(columns) or self._place(columns)
        if places[0] >= width:
            raise KernelInputError(f"a row has {width} spans; the columns {columns} go beyond")
        check_classes(classes, rows)
        remember = flags_of(remember, rows)
        both = np.empty((2, rows, self._kinds), np.int32)
        entities = address(both)
        others = entities + both.nbytes // 2
        _check(
            _libraries()[rows > self._brief].entity_tables_of_text(
                self._handle, rows, text, len(text), address(starts), address(lengths), width, places[1], address(classes),
                address(remember), entities, others,
            )
        )  # fmt: skip
        return both[0], both[1]

    def of_codes(self, codes: np.ndarray, classes: np.ndarray, remember: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = len(codes)
        check_codes(codes, self.plan.fields)
        check_classes(classes, rows)
        remember = flags_of(remember, rows)
        both = np.empty((2, rows, self._kinds), np.int32)
        entities = address(both)
        others = entities + both.nbytes // 2
        _check(
            _libraries()[rows > self._brief].entity_tables_of_codes(
                self._handle, rows, address(codes), address(classes), address(remember), entities, others
            )
        )
        return both[0], both[1]

    def _place(self, columns: tuple[int, ...]) -> tuple[int, int, np.ndarray]:
        """Return the last column, and where an array of all of them lies."""
        check_places(columns, self.plan)
        array = np.array(columns, np.int64)
        self._places[columns] = places = (max(columns, default=-1), array.ctypes.data, array)
        return places


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
        found = np.empty(check_strings(starts, lengths), np.uint8)
        self._visit(text, starts, lengths, address(found))
        return found

    def add(self, text: bytes, starts: np.ndarray, lengths: np.ndarray) -> None:
        self._visit(text, starts, lengths, None)

    def _visit(self, text: bytes, starts: np.ndarray, lengths: np.ndarray, found: int | None) -> None:
        rows = check_strings(starts, lengths)
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
    return typed_libraries(_SIGNATURES)


def _native(look_ups: int) -> ctypes.CDLL:
    return _libraries()[look_ups > _BRIEF]


@functools.cache
def _process_key() -> tuple[int, int]:
    """Return the key of the hash: nobody outside can know which strings meet in one slot."""
    random = os.urandom(16)
    return int.from_bytes(random[:8], "little"), int.from_bytes(random[8:], "little")


def flags_of(remember: np.ndarray | bool, rows: int) -> np.ndarray:
    """Return uint8 [rows], contiguous."""
    if isinstance(remember, bool):
        return np.full(rows, remember, np.uint8)
    if remember.dtype not in (np.uint8, np.bool_) or remember.shape != (rows,):
        raise KernelInputError(f"remember must be bool or uint8 [{rows}]; got {remember.dtype} {remember.shape}")
    return (
        remember if remember.dtype == np.uint8 and remember.flags.c_contiguous else np.ascontiguousarray(remember).view(np.uint8)
    )


def check_spans(starts: np.ndarray, lengths: np.ndarray) -> tuple[int, int]:
    """Return (n, T), or raise KernelInputError where the arrays are not C-contiguous int32 [n, T]."""
    for array in (starts, lengths):
        if array.dtype != np.int32 or array.ndim != 2 or array.shape != starts.shape or not array.flags.c_contiguous:
            raise KernelInputError(f"starts and lengths must be C-contiguous int32 [n, T]; got {array.dtype} {array.shape}")
    return starts.shape


def check_places(columns: tuple[int, ...], plan: EntityPlan) -> None:
    """Raise KernelInputError unless there is a column for each field."""
    if len(columns) != plan.fields or any(column < 0 for column in columns):
        raise KernelInputError(f"expected a column of the spans for each of {plan.fields} fields; got {columns}")


def check_codes(codes: np.ndarray, fields: int) -> None:
    """Raise KernelInputError unless the codes are C-contiguous int32 [n, fields]."""
    if codes.dtype != np.int32 or codes.ndim != 2 or codes.shape[1] != fields or not codes.flags.c_contiguous:
        raise KernelInputError(f"codes must be C-contiguous int32 [n, {fields}]; got {codes.dtype} {codes.shape}")


def check_classes(classes: np.ndarray, rows: int) -> None:
    """Raise KernelInputError unless the classes are C-contiguous int32 [rows]."""
    if classes.dtype != np.int32 or classes.shape != (rows,) or not classes.flags.c_contiguous:
        raise KernelInputError(f"classes must be C-contiguous int32 [{rows}]; got {classes.dtype} {classes.shape}")


def check_strings(first: np.ndarray, second: np.ndarray) -> int:
    """Return n, or raise KernelInputError where the arrays are not int32 [n]."""
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
