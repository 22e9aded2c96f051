"""The feature state and the ledger kept in step: restored from it, labelled from it, checked against it after a doubt."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from django.conf import settings

from scoring.background import give_way
from scoring.commit_sessions import end_abandoned_sessions
from scoring.decisions.accepted import id_spans, read_texts
from scoring.decisions.known_ids import KnownIds
from scoring.decisions.known_labels import Truths, read_truths_after
from scoring.decisions.shared_store import open_shared_log
from scoring.decisions.stored_events import degraded_since, events_of, which_are_stored
from scoring.engine import spans_of
from scoring.features.columns import TransactionColumns
from scoring.features.schema import REACH_US
from scoring.features.shared.applying import read_columns
from scoring.features.shared.entry import Entry, EntryKind, entry_of
from scoring.features.shared.rejoin import Rejoiner
from scoring.features.shared.settlement import Settlement
from scoring.features.shared.state import SharedFeatureState
from scoring.features.state import FeatureState, StateSnapshot
from scoring.features.state_file import LedgerPosition, StateFileRefused
from scoring.ledger import read_history
from scoring.models import Decision
from scoring.protection.guards import guards

logger = logging.getLogger(__name__)

BetweenBatches = Callable[[Callable[[], None]], None]
# Looked at in one go, while decisions wait: a fraction of a millisecond.
_IDLE_ENTITIES = 2_000
_IDS_A_CHUNK = 50_000
# So many decisions are read from the ledger in a few seconds, and a start should take no longer.
_DECISIONS_A_FILE = 250_000


def _at_once(act: Callable[[], None]) -> None:
    act()


class LedgerState(FeatureState):
    """Windows, and the set of known transaction ids, that say what the ledger says.

    Attributes:
        known: ids that may have been decided.
        last_label_id: the newest label that the windows know of.
        last_decision: the last decision that they contain, None for none.
    """

    def __init__(self, max_lateness_days: float) -> None:
        super().__init__(max_lateness_days)
        self.known = KnownIds()
        self.last_label_id = 0
        self.last_decision: str | None = None

    def read(self, keys: np.ndarray, texts: list[bytes]) -> TransactionColumns:
        """Return canonical transactions as columns, and remember their ids."""
        records = read_texts(texts)
        self.known.add(records.text, *id_spans(records))
        return self.tokens.columns_of(records, keys, remember=True)

    def absorb_ledger(self, since: datetime, after: int = 0) -> None:
        """Absorb what occurred since then and has a number above `after`, in order of arrival."""
        for chunk in read_history(since, after=after):
            keys = np.array([event_key(decision_id) for _, decision_id, _ in chunk], np.uint64)
            self.absorb(self.read(keys, [text.encode() for _, _, text in chunk]))
            self.last_decision = chunk[-1][1]

    def know_stored_ids(self) -> None:
        """Remember the id of every decision; in the order of the index, which holds them and is read without the rows."""
        ids = Decision.objects.order_by("transaction_id").values_list("transaction_id", flat=True)
        last = ""
        while chunk := list(ids.filter(transaction_id__gt=last)[:_IDS_A_CHUNK]):
            self.known.add(*spans_of(chunk))
            last = chunk[-1]

    def learn(self, truths: Truths) -> None:
        """Hear verdicts."""
        keys = np.array([event_key(i) for i in truths.decision_ids], np.uint64)
        # A party that is not known has no events to be labelled.
        batch = self.tokens.columns_of(read_texts(truths.texts), keys, remember=False)
        self.label(batch.occurred_us, batch.key, batch.entities, truths.fraud)
        self.last_label_id = truths.last_label_id


def build_from_ledger() -> LedgerState:
    """Return a state of all events that a window can still reach, in order of arrival, and their labels."""
    state = LedgerState(settings.MAX_LATENESS_DAYS)
    if (since := _reach()) is not None:
        state.absorb_ledger(since)
        for truths in read_truths_after(state.last_label_id):
            state.learn(truths)
    return state


def _reach() -> datetime | None:
    """Return from when on events matter to a window; None where there are none."""
    newest = Decision.objects.order_by("-occurred_at").values_list("occurred_at", flat=True).first()
    return newest and newest - timedelta(microseconds=REACH_US) - timedelta(days=settings.MAX_LATENESS_DAYS)


def read_entry(state: LedgerState, entry: Entry) -> TransactionColumns:
    """Return an entry's transactions as columns of this process, and remember their ids."""
    columns = read_columns(state, entry)
    state.known.add(columns.records.text, *id_spans(columns.records))
    return columns


class StateKeeper:
    """Owns the state of a process: its own, or one that follows the log that several processes share (STATE_STORE).

    The state file holds the state as it was at some place of the ledger, so that a start reads only what came after it. It is a
    short cut and never the truth: one that does not fit the ledger is left aside. Processes that share a log have none: what
    one of them has absorbed is no beginning of the ledger, into which others commit at the same time.
    """

    def __init__(self) -> None:
        self._own = LedgerState(settings.MAX_LATENESS_DAYS)
        log = open_shared_log()
        self.shared = SharedFeatureState(log, self._own, read_entry, guards().redis) if log else None
        self._rejoiner = Rejoiner(self.shared, build_from_ledger) if self.shared else None
        self._settlement = Settlement(self.shared, which_are_stored, degraded_since) if self.shared else None
        self._relearn_from: int | None = None  # labels after this one were heard while others' events were missing
        self._doubtful: list[str] = []  # transaction ids whose commit may or may not have happened
        self._writer: threading.Thread | None = None
        self._saved_at = time.monotonic()
        self._saved_count = 0  # how many ids were known when the state file was begun
        self._saved_decision: str | None = None  # the last one that the state file contains

    @property
    def state(self) -> LedgerState | SharedFeatureState:
        """What batches are processed with."""
        return self.shared or self._own

    @property
    def windows(self) -> LedgerState:
        """The windows of this process; others may take their place between two batches."""
        return self.shared.local if self.shared else self._own

    @property
    def known(self) -> KnownIds:
        """Ids that may have been decided."""
        return self.windows.known

    # --- start and end -------------------------------------------------------------------------------------------------

    def rebuild(self) -> None:
        """Start afresh: from the state file where one fits, and from the ledger what came after it.

        From the ledger come all events that a window can still reach, in order of arrival, and their labels. Where no others
        decide, what a process that was killed had sent to the database is in the ledger by then, or will never be; where
        several share a log, what it left open there is settled (see Settlement).
        """
        end_abandoned_sessions(of_all_processes=self.shared is None)
        if self.shared is None:
            self._rebuild_own()
        elif not self._rejoiner.rejoin_if_lost(_at_once):
            self.shared.local = build_from_ledger()  # without the log: degraded, until `keep_up` has joined it

    def _rebuild_own(self) -> None:
        """Take over a state that was read to its end; where it cannot be, the present one stays."""
        state, saved_decision, saved_count = LedgerState(settings.MAX_LATENESS_DAYS), None, 0
        if (since := _reach()) is not None:
            contained = 0
            if (loaded := _load_file()) is not None:
                state, contained = loaded
                saved_decision, saved_count = state.last_decision, len(state.known)
            state.absorb_ledger(since, contained)
        self._own, self._saved_decision, self._saved_count = state, saved_decision, saved_count
        self.learn_new_labels()

    def leave(self) -> None:
        """Say farewell to the processes that share the log, at the end of this one."""
        if self.shared is not None:
            self.shared.leave()

    def keep_up(self, between_batches: BetweenBatches = _at_once) -> None:
        """Follow the shared log, where there is one: join it where it was lost, hear the others, settle who died.

        To be called every second, in a thread beside the one that decides.
        """
        if self.shared is not None:
            self._rejoiner.rejoin_if_lost(between_batches)
            between_batches(self.shared.catch_up)
            self._settlement.run(between_batches)

    # --- labels ------------------------------------------------------------------------------------------------------

    def learn_new_labels(self, between_batches: BetweenBatches = _at_once) -> None:
        """Tell the state what became known since the last call; `between_batches` runs what changes it."""
        if self._relearn_from is not None:
            between_batches(self._go_back)
        for truths in read_truths_after(self.windows.last_label_id):
            between_batches(functools.partial(self._learn, truths))

    def _learn(self, truths: Truths) -> None:
        # The labels may be about another process's newest events; those that are not here yet get them later.
        if self.shared is not None and not self.shared.catch_up() and self._relearn_from is None:
            self._relearn_from = self.windows.last_label_id
        self.windows.learn(truths)

    def _go_back(self) -> None:
        if self.shared.catch_up():
            self.windows.last_label_id = min(self._relearn_from, self.windows.last_label_id)
            self._relearn_from = None

    # --- doubts ------------------------------------------------------------------------------------------------------

    @property
    def has_doubts(self) -> bool:
        """Whether `settle_doubts` has anything to do."""
        return bool(self._doubtful)

    def doubt(self, transaction_ids: list[str]) -> None:
        """Remember to ask the ledger about these: a connection that broke while it committed leaves both possible."""
        self._doubtful += transaction_ids

    def settle_doubts(self) -> None:
        """Put back what was taken back because its commit seemed to fail, where it is in the ledger after all.

        Raises:
            django.db.DatabaseError: they could not be looked up, or may still come into the ledger; the doubts remain.
        """
        if not self._doubtful:
            return
        end_abandoned_sessions(of_all_processes=self.shared is None)
        keys, texts = events_of(self._doubtful)
        if texts and self.shared is not None:
            self.shared.publish(entry_of(EntryKind.LATE_EVENTS, keys, texts))
        elif texts:
            self._rebuild_own()
        self._doubtful.clear()

    # --- what becomes too much, and what would be lost ----------------------------------------------------------------

    def forget_idle(self, between_batches: BetweenBatches = _at_once) -> None:
        """Free a few of the entities that no window can reach any more."""
        between_batches(lambda: self.windows.forget_idle(_IDLE_ENTITIES))

    def note_committed(self, decision_id: str) -> None:
        """Say which decision is the last one of a batch that the state contains and the ledger now too."""
        self.windows.last_decision = decision_id

    def save_when_due(self, between_batches: BetweenBatches = _at_once) -> None:
        """Write the state file in a thread of its own, every STATE_SNAPSHOT_SECONDS or after many decisions if that is sooner."""
        interval = settings.STATE_SNAPSHOT_SECONDS
        due = time.monotonic() - self._saved_at >= interval or len(self.known) - self._saved_count >= _DECISIONS_A_FILE
        if interval and due and not (self._writer and self._writer.is_alive()):
            self._saved_at, self._saved_count = time.monotonic(), len(self.known)
            self.save(between_batches)

    def save(self, between_batches: BetweenBatches = _at_once) -> threading.Thread | None:
        """Write the state file: copying begins between two batches, and goes on in the thread that is returned.

        Returns None where there is nothing new to write.
        """
        begun: list[tuple[StateSnapshot, str, int]] = []

        def begin() -> None:
            # A decision in doubt may be in the ledger before the last one, and not in the state.
            own = self._own
            if self.shared is None and own.last_decision not in (None, self._saved_decision) and not self._doubtful:
                begun.append((own.snapshot(), own.last_decision, own.last_label_id))

        between_batches(begin)
        if not begun:
            return None
        snapshot, decision_id, label_id = begun[0]
        try:
            seq = Decision.objects.values_list("seq", flat=True).get(decision_id=decision_id)
        except BaseException:
            snapshot.close()
            raise
        position = LedgerPosition(seq, decision_id, label_id)
        self._writer = threading.Thread(target=self._write, args=(snapshot, position), name="state-file", daemon=True)
        self._writer.start()
        return self._writer

    def _write(self, snapshot: StateSnapshot, position: LedgerPosition) -> None:
        give_way()
        began = time.monotonic()
        try:
            size = snapshot.write(state_file(), position)
        except (OSError, MemoryError) as error:
            logger.error("the state file was not written, the next one is tried in its turn: %s", error)
            return
        self._saved_decision = position.decision_id
        logger.info("the state file was written: %d MB in %.1f s", size >> 20, time.monotonic() - began)


def _load_file() -> tuple[LedgerState, int] | None:
    """Return the state file's state and the seq of the last decision that it contains; None where it does not fit the ledger."""
    path, began = state_file(), time.monotonic()
    try:
        state, position = LedgerState.load(path, settings.MAX_LATENESS_DAYS)
    except FileNotFoundError:
        return None
    except (StateFileRefused, OSError) as refusal:
        logger.warning("%s is not used, the state is rebuilt from the ledger: %s", path.name, refusal)
        return None
    if not Decision.objects.filter(seq=position.seq, decision_id=position.decision_id).exists():
        logger.warning("%s is not used, the state is rebuilt from the ledger: it belongs to another ledger", path.name)
        return None
    state.last_label_id, state.last_decision = position.label_id, position.decision_id
    state.know_stored_ids()
    logger.info("the state up to decision %d was read from %s in %.1f s", position.seq, path.name, time.monotonic() - began)
    return state, position.seq


def state_file() -> Path:
    """Return where the state is kept between two starts."""
    return settings.DATA_DIR / "feature_state"


def event_key(decision_id: str) -> int:
    """Return the number by which the feature state knows the event again: the last 48 random bits of its decision id."""
    return int(decision_id[-12:], 16)
