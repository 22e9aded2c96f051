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
from scoring.features.schema import REACH_US
from scoring.features.state import FeatureState
from scoring.ledger import find_answers, read_history
from scoring.models import Decision


class StateKeeper:
    """Owns a FeatureState, and the set of known transaction ids, that say what the ledger says."""

    def __init__(self) -> None:
        self._empty()
        self._doubtful: list[str] = []  # transaction ids whose commit may or may not have happened

    def _empty(self) -> None:
        self.state = FeatureState(settings.MAX_LATENESS_DAYS)
        self.known = KnownIds()
        self._last_label_id = 0

    def rebuild(self) -> None:
        """Start afresh from the ledger: all events that a window can still reach, in order of arrival, and their labels."""
        self._empty()
        newest = Decision.objects.order_by("-occurred_at").values_list("occurred_at", flat=True).first()
        if newest is None:
            return
        since = newest - timedelta(microseconds=REACH_US) - timedelta(days=settings.MAX_LATENESS_DAYS)
        for chunk in read_history(since):
            keys = np.array([event_key(decision_id) for _, decision_id, _ in chunk], np.uint64)
            records = read_texts([text.encode() for _, _, text in chunk])
            self.state.process(self.state.tokens.columns_of(records, keys, remember=True))
            self.known.add(records.text, *id_spans(records))
        self.learn_new_labels()

    def learn_new_labels(self, between_batches: Callable[[Callable[[], None]], None] = lambda act: act()) -> None:
        """Tell the state what became known since the last call; `between_batches` runs what changes it."""
        for truths in read_truths_after(self._last_label_id):
            self._last_label_id = truths.last_label_id
            between_batches(functools.partial(self._learn, truths))

    def _learn(self, truths: Truths) -> None:
        keys = [event_key(i) for i in truths.decision_ids]
        # A party that is not known has no events to be labelled.
        batch = self.state.tokens.columns(truths.transactions, keys, remember=False)
        self.state.label(batch.occurred_us, batch.key, batch.entities, truths.fraud)

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


def event_key(decision_id: str) -> int:
    """Return the number by which the feature state knows the event again: the last 48 random bits of its decision id."""
    return int(decision_id[-12:], 16)
