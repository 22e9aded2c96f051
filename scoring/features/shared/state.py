"""The feature state of one process among several that share a log; `scoring.features.shared` tells how it works."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any

import numpy as np
from msgspec import MsgspecError

from scoring.features.columns import TransactionColumns
from scoring.features.shared.breaker import CircuitBreaker
from scoring.features.shared.entry import Entry, EntryKind, UnreadableEntry, decode, encode, owner_of
from scoring.features.shared.errors import ANY_EPOCH, SharedLogLost, SharedLogUnavailable
from scoring.features.shared.shared_log import Exchange, Membership, SharedLog
from scoring.features.state import FeatureRows, FeatureState
from scoring.transactions import parse_stored

logger = logging.getLogger(__name__)

# Entries of one process that wait for the log; beyond this the log is given up, and all rebuild from the ledger.
MAX_WAITING_BYTES = 64 << 20
_SEND_BYTES = 1 << 20
_PLACE_UNKNOWN = -1


class Following(Enum):
    """How this process stands to the log."""

    LIVE = "live"  # it has applied every entry up to its cursor; a call that fails is made up for by the next one
    REJOINING = "rejoining"  # it appends as a new member, but decides on its old windows while new ones are built
    LOST = "lost"  # it has to join (again)


@dataclass
class OwnEntry:
    """An entry of mine until all know that it is settled.

    Attributes:
        place: in the log; 0 while not known to be there, -1 where it is there and the place is not known.
        settled: its transactions are committed, or retracted by a later entry.
        size: bytes, roughly.
    """

    entry: Entry
    size: int
    place: int = 0
    settled: bool = False
    withdrawn: bool = False


@dataclass(frozen=True)
class SharedRows(FeatureRows):
    """FeatureRows, and more.

    Attributes:
        degraded: the windows lacked what other processes decided: the answers must say so (degraded_features).
        own: for `confirm` and `take_back`; None where nothing was to be remembered.
    """

    degraded: bool = False
    own: OwnEntry | None = None


def read_columns(state: FeatureState, entry: Entry) -> TransactionColumns:
    """Return an entry's transactions as the columns of this process.

    Raises:
        UnreadableEntry: a transaction is not one of this release.
    """
    try:
        transactions = [parse_stored(text) for text in entry.texts]
    except MsgspecError as error:
        raise UnreadableEntry("one of its transactions is not readable by this release") from error
    return state.tokens.columns(transactions, entry.keys, remember=True)


@dataclass
class SharedCounters:
    """What happened since the start, for /metrics.

    Attributes:
        exchanges, failures: calls that worked and that did not.
        foreign_events: transactions of other processes that were applied.
        degraded: transactions that were answered on degraded windows.
        rejoins: how often the state was built anew.
        settled_members: dead members whose entries this process settled.
    """

    exchanges: int = 0
    failures: int = 0
    foreign_events: int = 0
    degraded: int = 0
    rejoins: int = 0
    settled_members: int = 0


class SharedFeatureState:
    """The interface of FeatureState. All methods belong to the thread that decides; `rejoin` says which do not.

    Built lost: `rejoin.rejoin` makes it follow the log. It decides before that, too, on the windows that it is given.
    """

    def __init__(
        self,
        log: SharedLog,
        local: FeatureState,
        read: Callable[[FeatureState, Entry], TransactionColumns] = read_columns,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        self.log = log
        self.local = local
        self.following = Following.LOST
        self.bad_epoch = ""
        self.membership: Membership | None = None
        self.expired: set[int] = set()  # members that seem dead, for `settlement`
        self.counters = SharedCounters()
        self.read = read
        self._breaker = breaker or CircuitBreaker()
        self._own: deque[OwnEntry] = deque()
        self._own_bytes = 0
        self._sent = 0  # number of my newest entry that is known to be in the log
        self._next_number = 1
        self._cursor = self._seen = 0
        self._sceptical_until = 0  # entries up to here may be known already, from the ledger

    # --- as FeatureState -------------------------------------------------------------------------------------------------

    def process(self, batch: TransactionColumns, texts: Sequence[bytes]) -> SharedRows:
        """Return the features of each transaction as of its place in the log, and absorb those to be inserted.

        Args:
            texts: the canonical transactions, as the ledger keeps them.
        """
        inserted = batch.insert > 0
        own = None
        if inserted.any():
            own = self._queue(Entry(EntryKind.EVENTS, 0, 0, batch.key, texts), inserted)
        exact = self.catch_up()
        if not exact:
            self.counters.degraded += len(batch)
        rows = self.local.process(batch)
        return SharedRows(*(getattr(rows, of.name) for of in fields(rows)), degraded=not exact, own=own)

    def confirm(self, rows: SharedRows) -> None:
        """Say that the batch is committed; the others learn it with the next call."""
        if rows.own is not None:
            rows.own.settled = True

    def take_back(self, batch: TransactionColumns, rows: SharedRows) -> None:
        """Undo `process` of this or an earlier batch, here and everywhere: it was not committed, and never will be."""
        if rows.own is None:
            return
        rows.own.settled = rows.own.withdrawn = True
        entry = rows.own.entry
        self.local.remove(self.read(self.local, entry))  # the windows may be others than those that numbered its entities
        self._queue(Entry(EntryKind.RETRACTION, 0, 0, entry.keys, entry.texts)).settled = True

    def __getattr__(self, name: str) -> Any:
        # The rest of the interface asks or tells this process's windows alone: labels are read from the ledger by each.
        if name == "local":  # not yet set
            raise AttributeError(name)
        return getattr(self.local, name)

    # --- the log ---------------------------------------------------------------------------------------------------------

    @property
    def degraded(self) -> bool:
        """Whether the next answer would most likely be degraded."""
        return self.following is not Following.LIVE or self._breaker.is_open

    @property
    def waiting_entries(self) -> int:
        """Entries of mine that are not known to be in the log."""
        return sum(own.place == 0 for own in self._own)

    def catch_up(self) -> bool:
        """Send what waits and apply what is new; return whether these windows now hold everything up to my last entry.

        Also to be called every second when nothing is decided: it is the sign of life, tells the others what is
        committed, and keeps the distance to them short. Never raises, and costs at most the budget (see LogLimits).
        """
        if self.following is Following.LOST or not self._breaker.allows():
            self._forget_if_too_many()
            return False
        try:
            done = self._exchange_all()
        except SharedLogUnavailable as error:
            self.counters.failures += 1
            if not self._breaker.is_open:
                logger.warning("the shared log is away; features are degraded until it is back: %s", error)
            self._breaker.failed()
            self._forget_if_too_many()
            return False
        except SharedLogLost as lost:
            self.lose(lost)
            return False
        if self._breaker.is_open:
            logger.info("the shared log is back")
        self._breaker.succeeded()
        return done and self.following is Following.LIVE

    def lose(self, lost: SharedLogLost) -> None:
        """Stop following the log until `rejoin` has built the windows anew."""
        logger.warning("the shared log is lost; features are degraded until they are rebuilt from the ledger: %s", lost)
        self.following = Following.LOST
        self.bad_epoch = lost.bad_epoch

    def publish(self, entry: Entry) -> None:
        """Append events that are in the ledger and may be missing in the log (`settlement`)."""
        self._queue(replace(entry, kind=EntryKind.LATE_EVENTS)).settled = True
        absorb(self.local, entry, self.read, doubtful=True)

    def begin_rejoin(self, membership: Membership) -> None:
        """Append as this member from now on. Everything of mine that others may lack is sent again."""
        self.membership = membership
        self.following = Following.REJOINING
        self.bad_epoch = ""
        self.expired.clear()
        self._sent, self._seen, self._cursor = 0, membership.head, membership.head
        for number, own in enumerate(self._own, 1):
            kind = EntryKind.LATE_EVENTS if own.entry.kind is EntryKind.EVENTS else own.entry.kind
            own.entry = replace(own.entry, kind=kind, owner=membership.member, number=number)
            own.place = 0
        self._next_number = len(self._own) + 1

    def finish_rejoin(self, local: FeatureState, cursor: int) -> None:
        """Decide on new windows, which hold the ledger as of after `begin_rejoin` and all entries up to `cursor`."""
        for own in self._own:
            if own.entry.kind is EntryKind.RETRACTION:
                local.remove(self.read(local, own.entry))
            elif not own.withdrawn:
                absorb(local, own.entry, self.read, doubtful=True)
        self.local, self._cursor = local, cursor
        self._sceptical_until = max(self._seen, cursor)
        self.following = Following.LIVE
        self.counters.rejoins += 1

    # --- one call --------------------------------------------------------------------------------------------------------

    def _queue(self, entry: Entry, chosen: np.ndarray | None = None) -> OwnEntry:
        entry = entry if chosen is None or chosen.all() else entry.part(chosen)
        member = self.membership.member if self.membership else 0
        entry = replace(entry, owner=member, number=self._next_number)
        own = OwnEntry(entry, 64 + 12 * len(entry) + sum(map(len, entry.texts)))
        self._next_number += 1
        self._own.append(own)
        self._own_bytes += own.size
        return own

    def _exchange_all(self) -> bool:
        """Call until all was read and sent; return False where the budget does not suffice."""
        deadline = time.monotonic() + self.log.limits.budget_ms / 1000
        while True:
            known = [own for own in self._own if own.settled and own.place]
            answer = self._exchange_once()
            self._drop(known)  # all others have been told that these are settled
            if answer.complete and not self.waiting_entries:
                return True
            if time.monotonic() > deadline:
                return False

    def _exchange_once(self) -> Exchange:
        waiting, size = [], 0
        for own in self._own:
            if own.place == 0 and size < _SEND_BYTES:
                waiting.append(own)
                size += own.size
        cursor = self._cursor if self.following is Following.LIVE else None
        answer = self.log.exchange(
            self.membership,
            [encode(own.entry) for own in waiting],
            self._sent + 1,
            seen=self._seen,
            cursor=cursor,
            unsettled=next((own.place for own in self._own if own.place and not own.settled), 0),
        )
        self.counters.exchanges += 1
        if cursor is not None:
            self._apply(answer.entries, cursor)
            self._cursor = answer.read_to
        if answer.complete:
            self._place(waiting, answer)
        self._seen = answer.head
        self.expired.update(answer.expired)
        return answer

    def _place(self, sent: list[OwnEntry], answer: Exchange) -> None:
        for own in sent:
            if own.entry.number > answer.number_before:
                own.place = answer.first + own.entry.number - answer.number_before - 1
            elif own.place == 0:
                own.place = _PLACE_UNKNOWN
        if sent:
            self._sent = sent[-1].entry.number

    def _drop(self, known: list[OwnEntry]) -> None:
        if known:
            gone = set(map(id, known))
            self._own_bytes -= sum(own.size for own in known)
            self._own = deque(own for own in self._own if id(own) not in gone)

    def _apply(self, entries: list[bytes], cursor: int) -> None:
        for place, data in enumerate(entries, cursor + 1):
            doubtful = place <= self._sceptical_until
            try:
                owner, number = owner_of(data)
                if owner == self.membership.member:
                    self._found_own(number, place)
                    if not doubtful:
                        continue  # applied when it was decided
                entry = decode(data)
                apply(self.local, entry, self.read, doubtful=doubtful)
            except UnreadableEntry as error:
                raise SharedLogLost(f"entry {place} cannot be read: {error}") from error
            self.counters.foreign_events += len(entry)

    def _found_own(self, number: int, place: int) -> None:
        for own in self._own:
            if own.entry.number == number:
                own.place = place

    def _forget_if_too_many(self) -> None:
        if self._own_bytes <= MAX_WAITING_BYTES:
            return
        self._drop([own for own in self._own if own.settled])
        self.lose(SharedLogLost("more waits for the log than this process may hold", ANY_EPOCH))


def apply(local: FeatureState, entry: Entry, read: Callable[[FeatureState, Entry], TransactionColumns], *, doubtful: bool) -> None:
    """Do what an entry says.

    Args:
        doubtful: its transactions may be known already.
    """
    if entry.kind is EntryKind.RETRACTION:
        local.remove(read(local, entry))
    else:
        absorb(local, entry, read, doubtful=doubtful or entry.kind is EntryKind.LATE_EVENTS)


def absorb(local: FeatureState, entry: Entry, read: Callable[[FeatureState, Entry], TransactionColumns], *, doubtful: bool) -> None:
    """Absorb an entry's events; where `doubtful`, those alone that are not remembered."""
    batch = read(local, entry)
    if doubtful and (known := local.contains(batch)).any():
        batch = replace(batch, insert=(~known).astype(np.uint8))
    local.absorb(batch)


__all__ = ["Following", "OwnEntry", "SharedCounters", "SharedFeatureState", "SharedRows", "absorb", "apply", "read_columns"]
