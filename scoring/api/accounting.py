"""What is counted and written down of each answer of the decision path, whichever door it left by."""

from __future__ import annotations

from scoring.decisions.service import engine_service
from scoring.errors import RateLimited, TooManyInFlight
from scoring.request_log import request_log

# A conflict, and a decision that could not be made.
_COUNTED_BY_ENGINE = (409, 503)
_SHED_AT_THE_DOOR = {RateLimited.code: "rate_limit", TooManyInFlight.code: "concurrency"}


def account_for(door: str, status: int, code: str, seconds: float, request_id: str) -> None:
    """Count an answer, and write a refusal down.

    Args:
        door: which way its request came in.
        code: the problem's code, "" where it was none.
        seconds: from the request's arrival to its answer.
    """
    if status >= 400:
        request_log.refusal(door, status, code, seconds, request_id)
    if (engine := engine_service().engine) is None:
        return
    engine.counters.observe_latency(seconds, 1, door, status)
    if status >= 400:
        if code in _SHED_AT_THE_DOOR:
            engine.counters.count_shed(_SHED_AT_THE_DOOR[code])
        elif status not in _COUNTED_BY_ENGINE:
            engine.counters.refused += 1
