"""Notices when the wall clock is set: event times are then not to be trusted, while durations stay right.

Deadlines and durations come from the monotonic clock, which nobody sets. What the wall clock says beyond that (received_at,
the order of late events) can jump; a decision that was made soon after a jump is stamped, so that it can be found.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)


class ClockWatch:
    """Compares both clocks from look to look, so that a slow correction (NTP slews by 500 ppm) is no step.

    Args:
        tolerance: seconds that the wall clock may run apart from the monotonic one between two looks.
        stamp_seconds: how long after a step decisions are stamped.
        wall: seconds since 1970.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        *,
        tolerance: float = 0.5,
        stamp_seconds: float = 60.0,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tolerance, self._stamp_seconds = tolerance, stamp_seconds
        self._wall, self._clock = wall, clock
        self._offset = wall() - clock()
        self._stamp_until: float | None = None
        self.steps = 0
        self.last_step_seconds = 0.0

    def look(self) -> None:
        """Compare the clocks; to be called about once a second."""
        before = self._clock()
        offset = self._wall() - before
        step, self._offset = offset - self._offset, offset
        # A wait between the two readings must not look like a step.
        if abs(step) <= self._tolerance + (self._clock() - before):
            return
        self.steps += 1
        self.last_step_seconds = step
        self._stamp_until = self._clock() + self._stamp_seconds
        logger.error("the wall clock was set by %+.3f s; decisions are stamped clock_step for %g s", step, self._stamp_seconds)

    @property
    def has_stepped(self) -> bool:
        """Whether a step is so recent that decisions are stamped."""
        return self._stamp_until is not None and self._clock() < self._stamp_until
