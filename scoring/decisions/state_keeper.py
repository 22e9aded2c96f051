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

from scoring.decisions.accepted import id_spans, read_texts
from scoring.decisions.known_ids import KnownIds
from scoring.decisions.known_labels import Truths, read_truths_after
from scoring.engine import spans_of
from scoring.features.schema import REACH_US
from scoring.features.state import FeatureState, StateSnapshot
from scoring.features.state_file import LedgerPosition, StateFileRefused
from scoring.ledger import find_answers, read_history
from scoring.models import Decision

logger = logging.getLogger(__name__)

BetweenBatches = Callable[[Callable[[], None]], None]
# Looked at in one go, while decisions wait: a fraction of a millisecond.
_IDLE_ENTITIES = 2_000
_IDS_A_CHUNK = 50_000


def _at_once(act: Callable[[], None]) -> None:
    act()


class StateKeeper:
    """Owns a FeatureState, and the set of known transaction ids, that say what the ledger says.

    The state file holds the state as it was at some place of the ledger, so that a start reads only what came after it. It is a
    short cut and never the truth: one that does not fit the ledger is left aside.
    """

    def __init__(self) -> None:
        self._empty()
        self._doubtful: list[str] = []  # transaction ids whose commit may or may not have happened
        self._writer: threading.Thread | None = None
        self._saved_at = time.monotonic()

    def _empty(self) -> None:
        self.state = FeatureState(settings.MAX_LATENESS_DAYS)
        self.known = KnownIds()
        self._last_label_id = 0
        self._last_decision: str | None = None  # the last decision that the state contains
        self._saved_decision: str | None = None  # the last one that the state file contains

    # --- start -------------------------------------------------------------------------------------------------------

    def rebuild(self) -> None:
        """Start afresh: from the state file where one fits, and from the ledger what came after it.

        From the ledger come all events that a window can still reach, in order of arrival, and their labels.
        """
        self._empty()
        newest = Decision.objects.order_by("-occurred_at").values_list("occurred_at", flat=True).first()
        if newest is None:
            return
        contained = self._load_file()
        self._absorb(newest - timedelta(microseconds=REACH_US) - timedelta(days=settings.MAX_LATENESS_DAYS), contained)
        self.learn_new_labels()

    def _absorb(self, since: datetime, after: int) -> None:
        for chunk in read_history(since, after=after):
            keys = np.array([event_key(decision_id) for _, decision_id, _ in chunk], np.uint64)
            records = read_texts([text.encode() for _, _, text in chunk])
            self.state.process(self.state.tokens.columns_of(records, keys, remember=True))
            self.known.add(records.text, *id_spans(records))
            self._last_decision = chunk[-1][1]

    def _load_file(self) -> int:
        """Take over the state file where it fits the ledger; return the seq of the last decision that it contains."""
        path, began = state_file(), time.monotonic()
        try:
            state, position = FeatureState.load(path, settings.MAX_LATENESS_DAYS)
        except FileNotFoundError:
            return 0
        except (StateFileRefused, OSError) as refusal:
            logger.warning("%s is not used, the state is rebuilt from the ledger: %s", path.name, refusal)
            return 0
        if not Decision.objects.filter(seq=position.seq, decision_id=position.decision_id).exists():
            logger.warning("%s is not used, the state is rebuilt from the ledger: it belongs to another ledger", path.name)
            return 0
        self.state, self._last_label_id = state, position.label_id
        self._last_decision = self._saved_decision = position.decision_id
        self._know_stored_ids()
        logger.info("the state up to decision %d was read from %s in %.1f s", position.seq, path.name, time.monotonic() - began)
        return position.seq

    def _know_stored_ids(self) -> None:
        # In the order of the index, which holds them and is read without the rows.
        ids = Decision.objects.order_by("transaction_id").values_list("transaction_id", flat=True)
        last = ""
        while chunk := list(ids.filter(transaction_id__gt=last)[:_IDS_A_CHUNK]):
            self.known.add(*spans_of(chunk))
            last = chunk[-1]

    # --- labels ------------------------------------------------------------------------------------------------------

    def learn_new_labels(self, between_batches: BetweenBatches = _at_once) -> None:
        """Tell the state what became known since the last call; `between_batches` runs what changes it."""
        for truths in read_truths_after(self._last_label_id):
            between_batches(functools.partial(self._learn, truths))

    def _learn(self, truths: Truths) -> None:
        keys = np.array([event_key(i) for i in truths.decision_ids], np.uint64)
        # A party that is not known has no events to be labelled.
        batch = self.state.tokens.columns_of(read_texts(truths.texts), keys, remember=False)
        self.state.label(batch.occurred_us, batch.key, batch.entities, truths.fraud)
        self._last_label_id = truths.last_label_id

    # --- doubts ------------------------------------------------------------------------------------------------------

    @property
    def has_doubts(self) -> bool:
        """Whether `settle_doubts` has anything to do."""
        return bool(self._doubtful)

    def doubt(self, transaction_ids: list[str]) -> None:
        """Remember to ask the ledger about these: a connection that broke while it committed leaves both possible."""
        self._doubtful += transaction_ids

    def settle_doubts(self) -> None:
        """Rebuild the state where a commit that seemed to fail is in the ledger after all."""
        if not self._doubtful:
            return
        stored = find_answers(self._doubtful)
        self._doubtful.clear()
        if stored:
            self.rebuild()

    # --- what becomes too much, and what would be lost ----------------------------------------------------------------

    def forget_idle(self, between_batches: BetweenBatches = _at_once) -> None:
        """Free a few of the entities that no window can reach any more."""
        between_batches(lambda: self.state.forget_idle(_IDLE_ENTITIES))

    def note_committed(self, decision_id: str) -> None:
        """Say which decision is the last one of a batch that the state contains and the ledger now too."""
        self._last_decision = decision_id

    def save_when_due(self, between_batches: BetweenBatches = _at_once) -> None:
        """Every STATE_SNAPSHOT_SECONDS, where anything was decided: write the state file, in a thread of its own."""
        interval = settings.STATE_SNAPSHOT_SECONDS
        if interval and time.monotonic() - self._saved_at >= interval and not (self._writer and self._writer.is_alive()):
            self._saved_at = time.monotonic()
            self.save(between_batches)

    def save(self, between_batches: BetweenBatches = _at_once) -> threading.Thread | None:
        """Write the state file: copying begins between two batches, and goes on in the thread that is returned.

        Returns None where there is nothing new to write.
        """
        begun: list[tuple[StateSnapshot, str, int]] = []

        def begin() -> None:
            # A decision in doubt may be in the ledger before the last one, and not in the state.
            if self._last_decision not in (None, self._saved_decision) and not self._doubtful:
                begun.append((self.state.snapshot(), self._last_decision, self._last_label_id))

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
        began = time.monotonic()
        try:
            size = snapshot.write(state_file(), position)
        except (OSError, MemoryError) as error:
            logger.error("the state file was not written, the next one is tried in its turn: %s", error)
            return
        self._saved_decision = position.decision_id
        logger.info("the state file was written: %d MB in %.1f s", size >> 20, time.monotonic() - began)


def state_file() -> Path:
    """Return where the state is kept between two starts."""
    return settings.DATA_DIR / "feature_state"


def event_key(decision_id: str) -> int:
    """Return the number by which the feature state knows the event again: the last 48 random bits of its decision id."""
    return int(decision_id[-12:], 16)
