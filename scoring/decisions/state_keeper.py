"""The feature state and the ledger kept in step: rebuilt from it, labelled from it, checked against it after a doubt."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import timedelta

import numpy as np
from django.conf import settings

from scoring.decisions.accepted import id_spans, read_texts
from scoring.decisions.known_ids import KnownIds
from scoring.decisions.known_labels import Truths, read_truths_after
from scoring.decisions.shared_store import open_shared_log
from scoring.decisions.stored_events import degraded_since, events_of, which_are_stored
from scoring.features.columns import TransactionColumns
from scoring.features.schema import REACH_US
from scoring.features.shared.applying import read_columns
from scoring.features.shared.entry import Entry, EntryKind, entry_of
from scoring.features.shared.rejoin import Rejoiner
from scoring.features.shared.settlement import Settlement
from scoring.features.shared.state import SharedFeatureState
from scoring.features.state import FeatureState
from scoring.ledger import read_history
from scoring.models import Decision

BetweenBatches = Callable[[Callable[[], None]], None]


class LedgerState(FeatureState):
    """Windows, and the set of known transaction ids, that say what the ledger says.

    Attributes:
        known: ids that may have been decided.
        last_label_id: the newest label that the windows know of.
    """

    def __init__(self) -> None:
        super().__init__(settings.MAX_LATENESS_DAYS)
        self.known = KnownIds()
        self.last_label_id = 0

    def read(self, keys: np.ndarray, texts: list[bytes]) -> TransactionColumns:
        """Return canonical transactions as columns, and remember their ids."""
        records = read_texts(texts)
        self.known.add(records.text, *id_spans(records))
        return self.tokens.columns_of(records, keys, remember=True)

    def label_by(self, truths: Truths) -> None:
        """Hear verdicts."""
        keys = [event_key(i) for i in truths.decision_ids]
        # A party that is not known has no events to be labelled.
        batch = self.tokens.columns(truths.transactions, keys, remember=False)
        self.label(batch.occurred_us, batch.key, batch.entities, truths.fraud)


class StateKeeper:
    """Owns the state of a process, its own or one that follows a shared log."""

    def __init__(self) -> None:
        log = open_shared_log()
        self.shared = SharedFeatureState(log, LedgerState(), read_entry) if log else None
        self._rejoiner = Rejoiner(self.shared, build_from_ledger) if self.shared else None
        self._settlement = Settlement(self.shared, which_are_stored, degraded_since) if self.shared else None
        self._own = LedgerState()
        self._doubtful: list[str] = []  # transaction ids whose commit may or may not have happened

    @property
    def state(self) -> LedgerState | SharedFeatureState:
        """The state that batches are processed with."""
        return self.shared or self._own

    @property
    def windows(self) -> LedgerState:
        """The windows of this process, which another set may take the place of between two batches."""
        return self.shared.local if self.shared else self._own

    @property
    def known(self) -> KnownIds:
        return self.windows.known

    def rebuild(self) -> None:
        """Start afresh from the ledger; at the start of the process, while nothing is decided."""
        if self.shared is None:
            self._own = build_from_ledger()
        elif not self._rejoiner.rejoin_if_lost(_at_once):
            self.shared.local = build_from_ledger()  # without the log: degraded, until `keep_up` has joined it

    def keep_up(self, between_batches: BetweenBatches) -> None:
        """Follow the shared log, where there is one: join it where it was lost, hear the others, settle who died.

        To be called every second, in a thread beside the one that decides.
        """
        if self.shared is not None:
            self._rejoiner.rejoin_if_lost(between_batches)
            between_batches(self.shared.catch_up)
            self._settlement.run(between_batches)

    def leave(self) -> None:
        """Say farewell to the others, at the end of the process."""
        if self.shared is not None:
            self.shared.leave()

    def learn_new_labels(self, between_batches: BetweenBatches = lambda act: act()) -> None:
        """Tell the state what became known since the last call; `between_batches` runs what changes it."""
        for truths in read_truths_after(self.windows.last_label_id):
            between_batches(functools.partial(self._learn, truths))

    def _learn(self, truths: Truths) -> None:
        if self.shared is not None:
            self.shared.catch_up()  # the events that the labels are about may be another process's newest
        self.windows.label_by(truths)
        self.windows.last_label_id = truths.last_label_id

    @property
    def has_doubts(self) -> bool:
        """Whether `settle_doubts` has anything to do."""
        return bool(self._doubtful)

    def doubt(self, transaction_ids: list[str]) -> None:
        """Remember to ask the ledger about these: a connection that broke while it committed leaves both possible."""
        self._doubtful += transaction_ids

    def settle_doubts(self) -> None:
        """Put back what was taken back because its commit seemed to fail, where it is in the ledger after all."""
        if not self._doubtful:
            return
        keys, texts = events_of(self._doubtful)
        self._doubtful.clear()
        if not texts:
            return
        if self.shared is not None:
            self.shared.publish(entry_of(EntryKind.LATE_EVENTS, keys, texts))
        else:
            self.rebuild()


def build_from_ledger() -> LedgerState:
    """Return a state of all events that a window can still reach, in order of arrival, and their labels."""
    state = LedgerState()
    newest = Decision.objects.order_by("-occurred_at").values_list("occurred_at", flat=True).first()
    if newest is None:
        return state
    since = newest - timedelta(microseconds=REACH_US) - timedelta(days=settings.MAX_LATENESS_DAYS)
    for chunk in read_history(since):
        keys = np.array([event_key(decision_id) for _, decision_id, _ in chunk], np.uint64)
        state.absorb(state.read(keys, [text.encode() for _, _, text in chunk]))
    for truths in read_truths_after(state.last_label_id):
        state.label_by(truths)
        state.last_label_id = truths.last_label_id
    return state


def read_entry(state: LedgerState, entry: Entry) -> TransactionColumns:
    """Return another process's transactions as columns of this one, and remember their ids."""
    columns = read_columns(state, entry)
    state.known.add(columns.records.text, *id_spans(columns.records))
    return columns


def event_key(decision_id: str) -> int:
    """Return the number by which the feature state knows the event again: the last 48 random bits of its decision id."""
    return int(decision_id[-12:], 16)


def _at_once(act: Callable[[], None]) -> None:
    act()
