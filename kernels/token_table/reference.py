"""The plain form: a Python dictionary for each table."""

from __future__ import annotations

import numpy as np

from kernels.errors import KernelInputError
from kernels.token_table import (
    ABSENT,
    UNKNOWN,
    EntityPlan,
    check_classes,
    check_codes,
    check_places,
    check_spans,
    check_strings,
    flags_of,
)


def _strings(text: bytes, starts: np.ndarray, lengths: np.ndarray) -> list[bytes | None]:
    found: list[bytes | None] = []
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        if length >= 0 and (start < 0 or start + length > len(text)):
            raise KernelInputError("a span lies outside the text")
        found.append(None if length < 0 else text[start : start + length])
    return found


class ReferenceTokenTable:
    """Answers the contract of `kernels.token_table` word for word."""

    def __init__(self) -> None:
        self._codes: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._codes)

    def _code(self, token: bytes, remember: int) -> int:
        if token not in self._codes:
            if not remember:
                return UNKNOWN
            self._codes[token] = len(self._codes)
        return self._codes[token]

    def codes(self, text: bytes, starts: np.ndarray, lengths: np.ndarray, remember: np.ndarray | bool) -> np.ndarray:
        rows = check_strings(starts, lengths)
        flags = flags_of(remember, rows).tolist()
        tokens = _strings(text, starts, lengths)
        return np.array([ABSENT if t is None else self._code(t, flags[i]) for i, t in enumerate(tokens)], np.int32)

    def pair_codes(self, first: np.ndarray, second: np.ndarray, remember: np.ndarray | bool) -> np.ndarray:
        rows = check_strings(first, second)
        flags = flags_of(remember, rows).tolist()
        codes = []
        for a, b, flag in zip(first.tolist(), second.tolist(), flags, strict=True):
            if ABSENT in (a, b):
                codes.append(ABSENT)
            elif a < 0 or b < 0:
                codes.append(UNKNOWN)
            else:
                codes.append(self._code(np.array([a, b], np.int32).tobytes(), flag))
        return np.array(codes, np.int32)

    def tokens(self, first: int, count: int) -> tuple[bytes, np.ndarray]:
        if first < 0 or count < 0 or first + count > len(self):
            raise KernelInputError(f"the table has the strings 0 to {len(self) - 1}; got {first} and {count} more")
        chosen = list(self._codes)[first : first + count]
        return b"".join(chosen), np.array([len(token) for token in chosen], np.int32)

    def memory_bytes(self) -> int:
        return sum(140 + len(token) for token in self._codes)  # an estimate: a bytes object, an integer and a dictionary's entry


class ReferenceIdSet:
    """Exact, and so within the contract."""

    def __init__(self) -> None:
        self._ids: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._ids)

    def contains(self, text: bytes, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        check_strings(starts, lengths)
        return np.array([t is not None and t in self._ids for t in _strings(text, starts, lengths)], np.uint8)

    def add(self, text: bytes, starts: np.ndarray, lengths: np.ndarray) -> None:
        check_strings(starts, lengths)
        self._ids.update(t for t in _strings(text, starts, lengths) if t is not None)

    def memory_bytes(self) -> int:
        return sum(100 + len(token) for token in self._ids)  # an estimate, as above


class ReferenceEntityTables:
    """A table a field, one a kind of two fields, one expression a kind."""

    def __init__(self, plan: EntityPlan) -> None:
        self.plan = plan
        self.tables = tuple(ReferenceTokenTable() for _ in range(plan.fields))
        self.pairs = tuple(ReferenceTokenTable() if kind[1] >= 0 else None for kind in plan.kinds)

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
        check_places(columns, self.plan)
        if max(columns, default=-1) >= width:
            raise KernelInputError(f"a row has {width} spans; the columns {columns} go beyond")
        codes = np.empty((rows, self.plan.fields), np.int32)
        for f, (table, column) in enumerate(zip(self.tables, columns, strict=True)):
            codes[:, f] = table.codes(text, starts[:, column], lengths[:, column], remember)
        return self.of_codes(codes, classes, remember)

    def of_codes(self, codes: np.ndarray, classes: np.ndarray, remember: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        check_codes(codes, self.plan.fields)
        check_classes(classes, len(codes))
        entities = np.full((len(codes), len(self.plan.kinds)), ABSENT, np.int32)
        others = entities.copy()
        for k, ((field, second, counted, wanted), table) in enumerate(zip(self.plan.kinds, self.pairs, strict=True)):
            entities[:, k] = codes[:, field] if table is None else table.pair_codes(codes[:, field], codes[:, second], remember)
            if wanted >= 0:
                entities[classes != wanted, k] = ABSENT
            if counted >= 0:
                others[:, k] = codes[:, counted]
        return entities, others
