"""Finishing what a process left open that died, or that was silent for so long that it counts as dead."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from scoring.features.shared.entry import Entry, EntryKind, UnreadableEntry, decode, encode, entry_of
from scoring.features.shared.errors import SharedLogLost, SharedLogUnavailable
from scoring.features.shared.rejoin import BetweenBatches
from scoring.features.shared.shared_log import Claim
from scoring.features.shared.state import Following, SharedFeatureState

logger = logging.getLogger(__name__)

# A database may finish a commit some time after the process that asked for it is gone.
_LOOK_AGAIN_SECONDS = 30.0
_CLOCK_MARGIN_MS = 60_000

WhichAreStored = Callable[[Sequence[bytes], np.ndarray], np.ndarray]
DecidedSince = Callable[[int], tuple[np.ndarray, list[bytes]]]


@dataclass
class _SecondLook:
    entry: Entry
    since_ms: int
    due: float


class Settlement:
    """Settles the entries of dead members; `run` is called in the thread that rejoins, too.

    For each event that a dead member appended and did not report as committed, the ledger says whether it was. If not, it
    is retracted in the log. What it decided while it could not reach the log is in the ledger alone, and is appended.
    Both are looked at once more later, since a commit may end after the process that asked for it.

    Args:
        which_are_stored: (canonical transactions, event keys) -> bool [n], whether the ledger has just these decisions.
        degraded_since: milliseconds since 1970 -> (keys, canonical transactions) of what was decided since then on
            degraded features.
    """

    def __init__(
        self,
        state: SharedFeatureState,
        which_are_stored: WhichAreStored,
        degraded_since: DecidedSince,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._which_are_stored = which_are_stored
        self._degraded_since = degraded_since
        self._clock = clock
        self._second_looks: list[_SecondLook] = []

    def run(self, between_batches: BetweenBatches) -> None:
        """Settle whoever seems dead now. Errors of the ledger are the caller's; those of the log end this attempt."""
        if self._state.following is not Following.LIVE:
            return
        try:
            for dead in list(self._state.expired):
                self._settle(dead, between_batches)
        except SharedLogUnavailable as error:
            logger.warning("a dead member's entries could not be settled yet: %s", error)
        except SharedLogLost as lost:
            between_batches(lambda lost=lost: self._state.lose(lost))
        self._look_again(between_batches)

    def _settle(self, dead: int, between_batches: BetweenBatches) -> None:
        state = self._state
        membership = state.membership
        claim = state.log.claim(membership, dead)
        between_batches(lambda: state.expired.discard(dead))  # the next exchange names it again where that was too early
        if claim is None:
            return
        open_events = self._open_events(claim)
        stored = self._which_are_stored(open_events.texts, open_events.keys)
        undone = open_events.part(~stored)
        if not state.log.settle(membership, claim, [encode(undone)] if len(undone) else []):
            return
        since_ms = claim.last_beat_ms - _CLOCK_MARGIN_MS
        self._publish(since_ms, between_batches)
        self._second_looks.append(_SecondLook(undone, since_ms, self._clock() + _LOOK_AGAIN_SECONDS))
        state.counters.settled_members += 1
        logger.warning("a member of the shared log died: %d of its %d open events retracted", len(undone), len(open_events))

    def _open_events(self, claim: Claim) -> Entry:
        """Return the dead member's events that it has neither confirmed nor retracted, as their retraction."""
        found: dict[int, bytes] = {}
        cursor = claim.low - 1
        while claim.low:
            head, cursor, entries = self._state.log.read(self._state.membership.epoch, cursor)
            for data in entries:
                _collect(found, data, claim.member)
            if cursor == head:
                break
        return entry_of(EntryKind.RETRACTION, list(found), list(found.values()))

    def _look_again(self, between_batches: BetweenBatches) -> None:
        due = [look for look in self._second_looks if look.due <= self._clock()]
        for look in due:
            self._second_looks.remove(look)
            stored = self._which_are_stored(look.entry.texts, look.entry.keys)
            if stored.any():
                late = look.entry.part(stored)
                between_batches(lambda late=late: self._state.publish(late))
            self._publish(look.since_ms, between_batches)

    def _publish(self, since_ms: int, between_batches: BetweenBatches) -> None:
        keys, texts = self._degraded_since(since_ms)
        if texts:
            between_batches(lambda: self._state.publish(entry_of(EntryKind.LATE_EVENTS, keys, texts)))


def _collect(found: dict[int, bytes], data: bytes, member: int) -> None:
    try:
        entry = decode(data)
    except UnreadableEntry as error:
        raise SharedLogLost(f"an entry cannot be read: {error}") from error
    if entry.owner != member:
        return
    for key, text in zip(entry.keys.tolist(), entry.texts, strict=True):
        if entry.kind is EntryKind.RETRACTION:
            found.pop(key, None)
        else:
            found[key] = text
