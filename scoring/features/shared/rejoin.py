"""Joining the log, at the start and after it was lost, while decisions go on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from scoring.features.shared.applying import apply
from scoring.features.shared.entry import UnreadableEntry, decode
from scoring.features.shared.errors import SharedLogLost, SharedLogUnavailable
from scoring.features.shared.shared_log import Membership
from scoring.features.shared.state import Following, SharedFeatureState
from scoring.features.state import FeatureState

logger = logging.getLogger(__name__)

# Runs a function between two batches, in the thread that decides, and returns its result.
BetweenBatches = Callable[[Callable[[], Any]], Any]
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 60.0


class Rejoiner:
    """Builds a lost state anew, in a thread beside the one that decides.

    Args:
        rebuild: returns windows that say what the ledger says when it is called, labels included. It must see every
            commit that was over when it was called (no older database snapshot).
    """

    def __init__(
        self, state: SharedFeatureState, rebuild: Callable[[], FeatureState], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._state = state
        self._rebuild = rebuild
        self._clock = clock
        self._pause = 0.0
        self._next_attempt = 0.0

    def rejoin_if_lost(self, between_batches: BetweenBatches) -> bool:
        """Rebuild and join where the log is lost; return whether the state follows the log now. To be called every second.

        Attempts that fail come further and further apart, up to a minute: each may read the whole ledger.
        """
        if self._state.following is Following.LIVE:
            return True
        if self._clock() < self._next_attempt:
            return False
        began = self._clock()
        try:
            self._rejoin(between_batches)
        except (SharedLogUnavailable, SharedLogLost) as error:
            self._pause = min(_LONGEST_PAUSE_SECONDS, 2 * self._pause or _FIRST_PAUSE_SECONDS)
            self._next_attempt = self._clock() + self._pause
            logger.warning("the shared log could not be joined, next attempt in %.0f s: %s", self._pause, error)
            return False
        self._pause = 0.0
        logger.info("this process follows the shared log, after %.1f s", self._clock() - began)
        return True

    def _rejoin(self, between_batches: BetweenBatches) -> None:
        state = self._state
        membership = state.log.join(state.bad_epoch, state.membership)
        between_batches(lambda: state.begin_rejoin(membership))
        local = self._rebuild()
        cursor = self._replay(local, membership)
        between_batches(lambda: _finish(state, membership, local, cursor))

    def _replay(self, local: FeatureState, membership: Membership) -> int:
        """Apply what the log holds and the ledger may have lacked; return up to where."""
        cursor = membership.replay_from
        while True:
            head, read_to, entries = self._state.log.read(membership.epoch, cursor)
            try:
                for data in entries:
                    apply(local, decode(data), self._state.read, doubtful=True)
            except UnreadableEntry as error:
                raise SharedLogLost(f"an entry after {cursor} cannot be read: {error}") from error
            cursor = read_to
            if cursor == head:
                return cursor


def _finish(state: SharedFeatureState, membership: Membership, local: FeatureState, cursor: int) -> None:
    if state.following is not Following.REJOINING or state.membership is not membership:
        raise SharedLogLost("the log was lost again meanwhile", state.bad_epoch)
    state.finish_rejoin(local, cursor)
