"""Errors that the API and the dashboard can show: a stable code, an HTTP status, and a remedy in the message."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType


class ScoringError(Exception):
    """Base of the expected errors of this application.

    Attributes:
        code: stable, machine-readable name.
        status: the HTTP status that fits.
        retryable: whether the same request may succeed later.
        headers: fields that the answer carries besides those of every error.
    """

    code = "scoring_error"
    status = 400
    retryable = False
    headers: Mapping[str, str] = MappingProxyType({})


class TransactionConflict(ScoringError):
    """The transaction id is known with another body."""

    code = "transaction_conflict"
    status = 409

    def __init__(self) -> None:
        super().__init__(
            "this transaction_id was already decided with a different body; "
            "send a new transaction_id, or the original body to get the original answer"
        )


class EngineUnavailable(ScoringError):
    """No decision can be made or stored right now."""

    code = "engine_unavailable"
    status = 503
    retryable = True


class EngineOverloaded(EngineUnavailable):
    """More waits than can be answered in time, or than the engine may hold."""

    code = "overloaded"

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.headers = {"Retry-After": str(max(1, math.ceil(retry_after)))}


class DeadlineExceeded(EngineUnavailable):
    """The answer would come later than the caller has use for it."""

    code = "deadline_exceeded"

    def __init__(self, *, is_known: bool = True) -> None:
        super().__init__(
            "nothing was decided: its deadline passed while it waited; send it again, or allow more time"
            if is_known
            else "its deadline passed while it was being stored: send it again for the answer, a transaction_id is decided once"
        )


class TooManyInFlight(EngineUnavailable):
    """More requests are under way than this process takes at once."""

    code = "too_many_in_flight"

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} requests are under way already, which is all that this server takes; send this again later")


# Refused because of what others send at the same time, which a client may send again at once.
OVERLOADED = frozenset((EngineOverloaded.code, TooManyInFlight.code))


class CircuitOpen(EngineUnavailable):
    """A dependency failed so often that it is left alone for a while."""

    code = "dependency_unavailable"

    def __init__(self, dependency: str, retry_after: float) -> None:
        super().__init__(f"the {dependency} does not answer and is being left alone for a moment; send this again later")
        self.headers = {"Retry-After": str(max(1, math.ceil(retry_after)))}


class StorageFull(EngineUnavailable):
    """So little space is left that decisions could not be stored safely."""

    code = "storage_full"

    def __init__(self) -> None:
        super().__init__("the server's disk is nearly full and takes no decisions; its operator must make room, send this later")
        self.headers = {"Retry-After": "30"}


class UnsafeDurability(EngineUnavailable):
    """The database could lose decisions that were answered already."""

    code = "unsafe_durability"


class RateLimited(ScoringError):
    """The caller sends more than its key allows."""

    code = "rate_limited"
    status = 429
    retryable = True

    def __init__(self, headers: Mapping[str, str]) -> None:
        wait = headers.get("Retry-After", "1")
        super().__init__(f"this API key sends more than it may; wait {wait} s, or ask the operator for a higher limit")
        self.headers = headers


class DecisionNotFound(ScoringError):
    code = "decision_not_found"
    status = 404


class NothingToExplain(ScoringError):
    """No model took part in the decision."""

    code = "nothing_to_explain"
    status = 422


class ExplanationUnavailable(ScoringError):
    """The program or the feature row that made the decision is not there any more."""

    code = "explanation_unavailable"
    status = 409


class AnswerUnreadable(ScoringError):
    """What is stored of a decision does not give its answer any more."""

    code = "answer_unreadable"
    status = 500

    def __init__(self, decision_id: str, cause: str) -> None:
        super().__init__(
            f"the stored answer of decision {decision_id} is not readable: {cause}; restore this row from a backup"
        )


class AlertNotFound(ScoringError):
    code = "alert_not_found"
    status = 404


class AlertAlreadyClosed(ScoringError):
    code = "alert_already_closed"
    status = 409


class ReleaseNotFound(ScoringError):
    code = "release_not_found"
    status = 404


class NothingToRollBackTo(ScoringError):
    code = "nothing_to_roll_back_to"
    status = 409


class InvalidInput(ScoringError):
    """The input breaks its contract; `faults` say where and what to do (a JSON Pointer, a code and a message each)."""

    code = "invalid_input"
    status = 400

    def __init__(self, faults: list, summary: str = "the input is not valid; errors says where and why") -> None:
        super().__init__(summary)
        self.faults = faults


class BodyTooLarge(ScoringError):
    code = "body_too_large"
    status = 413

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body may have at most {limit} bytes; send less at once")


class AuthenticationRequired(ScoringError):
    code = "authentication_required"
    status = 401

    def __init__(self) -> None:
        super().__init__("send a valid API key as 'Authorization: Bearer <key>'; the key is missing, unknown or revoked")


class ScopeMissing(ScoringError):
    code = "scope_missing"
    status = 403

    def __init__(self, scope: str) -> None:
        super().__init__(f"this API key lacks the scope {scope}; create a key that has it")
