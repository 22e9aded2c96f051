"""Log lines of requests: each refusal and error, and with LOG_DECISIONS each decision.

In an overload refusals come by the thousand, and writing each down would be one more load: of each kind (status and code)
the first LINES_A_SECOND of a second are written, and the next line says how many were not. The metrics count all.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

import msgspec

from scoring.hot_settings import hot_settings

logger = logging.getLogger("scoring.requests")

LINES_A_SECOND = 10


class RequestLog:
    """Writes lines for one event loop or thread at a time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._written: dict[tuple[int, str], list[int]] = {}  # kind -> [second, lines in it, not written since]

    def refusal(self, door: str, status: int, code: str, seconds: float, request_id: str, *, caller: str = "") -> None:
        """Write down that a request was refused or failed.

        Args:
            door: which way it came in.
            code: the problem's code.
            seconds: from its arrival to its answer.
            caller: the key's name in the rate limits, which is not the key.
        """
        now = int(self._clock())
        of = self._written.setdefault((status, code), [now, 0, 0])
        if of[0] != now:
            of[0], of[1] = now, 0
        if of[1] >= LINES_A_SECOND:
            of[2] += 1
            return
        of[1] += 1
        figures = {"door": door, "status": status, "code": code, "duration_ms": round(seconds * 1000, 3)}
        figures |= {"request_id": request_id, "caller": caller or None, "unlogged": of[2] or None}
        of[2] = 0
        level = logging.ERROR if status == 500 else logging.WARNING if status > 500 else logging.INFO
        logger.log(level, "refused: %s", code, extra=figures)

    def decisions(self, answers: Iterable[bytes], seconds: float, request_id: str) -> None:
        """Write down the decisions in these answers, where LOG_DECISIONS says so.

        Args:
            seconds: from the request's arrival until they were there.
        """
        if not hot_settings.LOG_DECISIONS:
            return
        figures = {"status": 200, "duration_ms": round(seconds * 1000, 3), "request_id": request_id}
        for answer in map(_answer.decode, answers):
            extra = figures | {"decision_id": answer.decision_id, "outcome": answer.outcome}
            logger.info("decided", extra=extra)


class _Answer(msgspec.Struct):
    """What a line says of an answer."""

    decision_id: str
    outcome: str


_answer = msgspec.json.Decoder(_Answer)


request_log = RequestLog()
