"""The client's own ledger: what it is about to ask, and what it was told, each on disk before anything else happens.

One JSON array a line. The first is ["run", {...}]. Then ["before", call, [[name, variant, digest], ...]] is on disk
before the call leaves, and ["after", call, [[verdict, detail], ...]] before the client does anything else: verdict is
"ok" (detail: SHA-256 of the answer's bytes), "refused" (the status) or "unknown" (a status, or why there was none). A
call without its second line is unknown as well.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tests.chaos.payments import Item

OK, REFUSED, UNKNOWN = "ok", "refused", "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client was told about one item of a call."""

    verdict: str
    detail: str


class JournalWriter:
    """Appends to the journal from many threads, which share an fsync where they come together."""

    def __init__(self, path: Path, *, base: datetime, seed: int) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._queue, self._sync = threading.Lock(), threading.Lock()
        self._lines: list[bytes] = []
        self._written = self._durable = self._calls = 0
        self._append(["run", {"base": base.isoformat(), "seed": seed}])

    @property
    def calls(self) -> int:
        """How many calls were begun."""
        return self._calls

    def before(self, items: Sequence[tuple[Item, str]]) -> int:
        """Note a call that is about to be made, with the digests of its bodies; return its number."""
        with self._queue:
            self._calls += 1
            call = self._calls
        self._append(["before", call, [[item.name, item.variant, digest] for item, digest in items]])
        return call

    def after(self, call: int, answers: Sequence[Answer]) -> None:
        """Note what the call brought, an answer an item."""
        self._append(["after", call, [[answer.verdict, answer.detail] for answer in answers]])

    def close(self) -> None:
        os.close(self._file)

    def _append(self, line: list) -> None:
        """Return once the line is on disk."""
        text = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        with self._queue:
            self._lines.append(text)
            self._written += 1
            mine = self._written
        with self._sync:
            if self._durable >= mine:
                return  # whoever held the lock took this line along
            with self._queue:
                lines, self._lines, reached = self._lines, [], self._written
            _write_all(self._file, b"".join(lines))
            os.fsync(self._file)
            self._durable = reached


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


@dataclass(slots=True)
class Told:
    """All that the client was told about one item, over all its calls."""

    digest: str
    ok: list[str] = field(default_factory=list)  # SHA-256 of each answer
    refused: list[str] = field(default_factory=list)
    unknown: int = 0


@dataclass(slots=True)
class Journal:
    """A journal read back.

    Attributes:
        base: the run's base time, from which the bodies follow.
        seed: of the run.
        calls: how many requests were begun.
        told: by item, in the order in which they were first sent.
        unexpected: statuses that no caller should ever see, with how often.
    """

    base: datetime
    seed: int
    calls: int = 0
    told: dict[Item, Told] = field(default_factory=dict)
    unexpected: dict[str, int] = field(default_factory=dict)

    @property
    def acknowledged(self) -> dict[Item, Told]:
        return {item: told for item, told in self.told.items() if told.ok}

    @property
    def open_items(self) -> list[Item]:
        """Items that were sent, and never acknowledged nor refused."""
        return [item for item, told in self.told.items() if not told.ok and not told.refused]


class JournalDamaged(ValueError):
    """The journal cannot be what the client wrote."""


# An answer, a refusal, or "not now"; everything else is a defect.
EXPECTED_STATUSES = ("400", "409", "429", "503")


def read_journal(path: Path) -> Journal:
    """Read the journal back.

    Raises:
        JournalDamaged: a line other than a torn last one cannot be read, or contradicts another.
    """
    lines = _lines(path)
    first = next(lines, None)
    if first is None or first[0] != "run":
        raise JournalDamaged(f"{path} does not start with the run's line")
    journal = Journal(datetime.fromisoformat(first[1]["base"]), first[1]["seed"])
    pending: dict[int, list[Item]] = {}
    for kind, call, parts in lines:
        if kind == "before":
            journal.calls += 1
            pending[call] = [_sent(journal, name, variant, digest) for name, variant, digest in parts]
        elif kind == "after" and len(pending.get(call, ())) == len(parts):
            for item, (verdict, detail) in zip(pending.pop(call), parts, strict=True):
                _note(journal, journal.told[item], verdict, str(detail))
        else:
            raise JournalDamaged(f"{path}: call {call} has a line {kind!r} that fits nothing before it")
    for items in pending.values():
        for item in items:
            journal.told[item].unknown += 1
    return journal


def _lines(path: Path) -> Iterator[list]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return  # torn by the end of the client: that call was never made, or its answer is unknown
            try:
                yield json.loads(line)
            except ValueError:
                raise JournalDamaged(f"{path}: line {number} is not JSON") from None


def _sent(journal: Journal, name: str, variant: int, digest: str) -> Item:
    item = Item(name, variant)
    if journal.told.setdefault(item, Told(digest)).digest != digest:
        raise JournalDamaged(f"{name} was sent with two bodies under one variant")
    return item


def _note(journal: Journal, told: Told, verdict: str, detail: str) -> None:
    if verdict == OK:
        told.ok.append(detail)
    elif verdict == REFUSED:
        told.refused.append(detail)
    elif verdict == UNKNOWN:
        told.unknown += 1
    else:
        raise JournalDamaged(f"there is no verdict {verdict!r}")
    if verdict != OK and detail.isdigit() and detail not in EXPECTED_STATUSES:
        journal.unexpected[detail] = journal.unexpected.get(detail, 0) + 1
