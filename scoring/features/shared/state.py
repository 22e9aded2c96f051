"""The feature state of one process among several that share a log; `scoring.features.shared` tells how it works."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from scoring.features.columns import TransactionColumns
from scoring.features.shared.applying import ReadColumns, absorb, apply, read_columns
from scoring.features.shared.entry import NOBODY, Entry, EntryKind, UnreadableEntry, decode, encode, owner_of
from scoring.features.shared.errors import ANY_EPOCH, SharedLogLost, SharedLogUnavailable
from scoring.features.shared.own_entries import OwnEntries, OwnEntry
from scoring.features.shared.shared_log import Exchange, Membership, SharedLog
from scoring.features.state import FeatureRows, FeatureState
from scoring.protection.circuit_breaker import BreakerPolicy, BreakerState, CircuitBreaker

logger = logging.getLogger(__name__)

# Entries of one process that wait for the log; beyond this the log is given up, and all rebuild from the ledger.
MAX_WAITING_BYTES = 64 << 20
# A Redis that is away costs its time budget once a second, not once a batch; one that is back is used at once.
BREAKER_POLICY = BreakerPolicy(failures_in_a_row=2, probe_seconds=1.0, good_to_close=1)


class Following(Enum):
    """How this process stands to the log."""

    LIVE = "live"  # it has applied every entry up to its cursor; a call that fails is made up for by the next one
    REJOINING = "rejoining"  # it appends as a new member, but decides on its old windows while new ones are built
    LOST = "lost"  # it has to join (again)


@dataclass(frozen=True)
class SharedRows(FeatureRows):
    """FeatureRows, and for `confirm` and `take_back` its entry; None where nothing was to be remembered."""

    own: OwnEntry | None = None


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
        read: ReadColumns = read_columns,
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
        self._breaker = breaker or CircuitBreaker("redis", BREAKER_POLICY)
        self._is_away = False
        self._own = OwnEntries()
        self._cursor = self._seen = 0
        self._sceptical_until = 0  # entries up to here may be known already, from the ledger

    # --- as FeatureState -------------------------------------------------------------------------------------------------

    def process(self, batch: TransactionColumns) -> SharedRows:
        """Return the features of each transaction as of its place in the log, and absorb those to be inserted.

        The batch must know the texts that it was read from (`TransactionColumns.records`).
        """
        inserted = batch.insert > 0
        own = None
        if inserted.any():
            entry = Entry(EntryKind.EVENTS, NOBODY, 0, batch.key, batch.records.text, batch.records.ends)
            own = self._queue(entry if inserted.all() else entry.part(inserted))
        exact = self.catch_up()
        if not exact:
            self.counters.degraded += len(batch)
            if own is not None and own.place == 0:
                # Until it reaches the log, others may learn of it from the ledger.
                own.entry = replace(own.entry, kind=EntryKind.LATE_EVENTS)
        try:
            rows = self.local.process(batch)
        except BaseException:
            if own is not None:
                self._withdraw(own)
            raise
        return SharedRows(rows.x, rows.late, rows.clock_us, degraded=not exact, own=own)

    def confirm(self, rows: SharedRows) -> None:
        """Say that the batch is committed; the others learn it with the next call."""
        if rows.own is not None:
            rows.own.settled = True

    def take_back(self, batch: TransactionColumns, rows: SharedRows) -> None:
        """Undo `process` of this or an earlier batch, here and everywhere: it was not committed, and never will be."""
        if rows.own is not None:
            self._withdraw(rows.own)

    def _withdraw(self, own: OwnEntry) -> None:
        own.settled = own.withdrawn = True
        # The windows may be others by now than those that numbered its entities.
        self.local.remove(self.read(self.local, own.entry))
        self._queue(replace(own.entry, kind=EntryKind.RETRACTION)).settled = True

    def __getattr__(self, name: str) -> Any:
        # The rest of the interface asks or tells this process's windows alone: labels are read from the ledger by each.
        if name == "local":  # not yet set
            raise AttributeError(name)
        return getattr(self.local, name)

    # --- the log ---------------------------------------------------------------------------------------------------------

    @property
    def degraded(self) -> bool:
        """Whether the next answer would most likely be degraded."""
        return self.following is not Following.LIVE or self._breaker.state is not BreakerState.CLOSED

    @property
    def waiting_entries(self) -> int:
        """Entries of mine that are not known to be in the log."""
        return len(self._own.waiting())

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
            self._breaker.record(False)
            if not self._is_away:
                logger.warning("the shared log is away; features are degraded until it is back: %s", error)
            self._is_away = True
            self._forget_if_too_many()
            return False
        except SharedLogLost as lost:
            self._breaker.record(True)
            self.lose(lost)
            return False
        self._breaker.record(True)
        if self._is_away:
            logger.info("the shared log is back")
        self._is_away = False
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

    def leave(self) -> None:
        """Go in order at the end of the process. What is still open then is settled by others, as if it had died."""
        self.catch_up()  # say what is committed
        self.catch_up()  # and hear that this was heard
        if self.following is Following.LIVE and not self._own:
            try:
                self.log.leave(self.membership)
            except SharedLogUnavailable as error:
                logger.info("the shared log was left without a word: %s", error)
        self.following = Following.LOST
        self.log.close()

    def begin_rejoin(self, membership: Membership) -> None:
        """Append as this member from now on. Everything of mine that others may lack is sent again."""
        self.membership = membership
        self.following = Following.REJOINING
        self.bad_epoch = ""
        self.expired.clear()
        self._seen = self._cursor = membership.head
        self._own.begin_again(membership.member)

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

    def _queue(self, entry: Entry) -> OwnEntry:
        return self._own.add(entry, self.membership.member if self.membership else 0)

    def _exchange_all(self) -> bool:
        """Call until all was read and sent; return False where the budget does not suffice."""
        deadline = time.monotonic() + self.log.limits.budget_ms / 1000
        while True:
            known = self._own.settled_in_log()
            answer = self._exchange_once()
            self._own.drop(known)  # whoever joins from now on finds these in the ledger
            if answer.complete and not self._own.waiting():
                return True
            if time.monotonic() > deadline:
                return False

    def _exchange_once(self) -> Exchange:
        sent = self._own.next_to_send()
        cursor = self._cursor if self.following is Following.LIVE else None
        answer = self.log.exchange(
            self.membership,
            [encode(own.entry) for own in sent],
            self._own.first_waiting_number,
            seen=self._seen,
            cursor=cursor,
            unsettled=self._own.first_unsettled_place,
        )
        self.counters.exchanges += 1
        if cursor is not None:
            self._apply(answer.entries, cursor)
            self._cursor = answer.read_to
        if answer.complete:
            self._own.note_sent(sent, answer)
        self._seen = answer.head
        self.expired.update(answer.expired)
        return answer

    def _apply(self, entries: list[bytes], cursor: int) -> None:
        for place, data in enumerate(entries, cursor + 1):
            doubtful = place <= self._sceptical_until
            try:
                owner, number = owner_of(data)
                if owner == self.membership.member:
                    self._own.note_place(number, place)
                    if not doubtful:
                        continue  # applied when it was decided
                entry = decode(data)
                apply(self.local, entry, self.read, doubtful=doubtful)
            except UnreadableEntry as error:
                raise SharedLogLost(f"entry {place} cannot be read: {error}") from error
            self.counters.foreign_events += len(entry)

    def _forget_if_too_many(self) -> None:
        if self._own.bytes <= MAX_WAITING_BYTES:
            return
        self._own.drop([own for own in self._own if own.settled])
        self.lose(SharedLogLost("more waits for the log than this process may hold", ANY_EPOCH))
