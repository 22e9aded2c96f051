"""Errors that the API and the dashboard can show: a stable code, an HTTP status, and a remedy in the message."""

from __future__ import annotations


class ScoringError(Exception):
    """Base of the expected errors of this application.

    Attributes:
        code: stable, machine-readable name.
        status: the HTTP status that fits.
        retryable: whether the same request may succeed later.
    """

    code = "scoring_error"
    status = 400
    retryable = False


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
    """More requests wait than the engine may hold."""

    code = "overloaded"


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
