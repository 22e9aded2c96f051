"""The entries of this process, from the moment they are made until all others know that they are settled."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from scoring.features.shared.entry import Entry, EntryKind
from scoring.features.shared.shared_log import Exchange

_SEND_BYTES = 1 << 20
_PLACE_UNKNOWN = -1


@dataclass
class OwnEntry:
    """One of them.

    Attributes:
        place: in the log; 0 while not known to be there, -1 where it is there and the place is not known.
        settled: its transactions are committed, or retracted by a later entry.
        withdrawn: they are retracted.
        size: bytes, roughly.
    """

    entry: Entry
    size: int
    place: int = 0
    settled: bool = False
    withdrawn: bool = False


class OwnEntries:
    """In the order of their numbers; those that wait for the log come last."""

    def __init__(self) -> None:
        self._entries: deque[OwnEntry] = deque()
        self._sent = 0  # number of the newest that is known to be in the log
        self._next_number = 1
        self.bytes = 0

    def __iter__(self) -> Iterator[OwnEntry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry, owner: int) -> OwnEntry:
        """Number an entry and let it wait."""
        size = 64 + 12 * len(entry) + int(entry.ends[-1] - entry.ends[0])
        own = OwnEntry(replace(entry, owner=owner, number=self._next_number), size)
        self._next_number += 1
        self._entries.append(own)
        self.bytes += own.size
        return own

    def begin_again(self, owner: int) -> None:
        """Let all wait again, as entries of a new membership that others may know already."""
        for number, own in enumerate(self._entries, 1):
            kind = EntryKind.LATE_EVENTS if own.entry.kind is EntryKind.EVENTS else own.entry.kind
            own.entry = replace(own.entry, kind=kind, owner=owner, number=number)
            own.place = 0
        self._sent, self._next_number = 0, len(self._entries) + 1

    @property
    def first_waiting_number(self) -> int:
        """The number of the first that waits, or that the next one will have."""
        return self._sent + 1

    @property
    def first_unsettled_place(self) -> int:
        """The place of the first that is in the log with its commit open: 0 for none, -1 for one at an unknown place."""
        return next((own.place for own in self._entries if own.place and not own.settled), 0)

    def waiting(self) -> list[OwnEntry]:
        """Return those that are not known to be in the log."""
        return [own for own in self._entries if own.place == 0]

    def next_to_send(self) -> list[OwnEntry]:
        """Return as many of those as one call should carry, at least one."""
        chosen, size = [], 0
        for own in self.waiting():
            if size >= _SEND_BYTES:
                break
            chosen.append(own)
            size += own.size
        return chosen

    def note_sent(self, sent: list[OwnEntry], answer: Exchange) -> None:
        """Note that these are in the log."""
        for own in sent:
            if own.entry.number > answer.number_before:
                own.place = answer.first + own.entry.number - answer.number_before - 1
            elif own.place == 0:
                own.place = _PLACE_UNKNOWN
        if sent:
            self._sent = sent[-1].entry.number

    def note_place(self, number: int, place: int) -> None:
        """Note where one was found."""
        for own in self._entries:
            if own.entry.number == number:
                own.place = place

    def settled_in_log(self) -> list[OwnEntry]:
        """Return those that can be dropped once others have been told where the unsettled ones begin."""
        return [own for own in self._entries if own.settled and own.place]

    def drop(self, entries: list[OwnEntry]) -> None:
        """Forget these."""
        if entries:
            gone = set(map(id, entries))
            self.bytes -= sum(own.size for own in entries)
            self._entries = deque(own for own in self._entries if id(own) not in gone)
