"""Deciding outside the server: commands, backfills and tests take the same path as the API, in this process."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from scoring.decisions.requests import Decided, DecisionRequest, request_now
from scoring.decisions.runtime import get_engine
from scoring.errors import ScoringError
from scoring.problems import problem_of
from scoring.reading import read_transaction_object
from scoring.transactions import canonical_json


def decide_now(transactions: list[dict[str, Any]], *, backfill: bool = False) -> list[dict[str, Any]]:
    """Decide transactions in the API's form, in order, and commit them; one result each, as the batch endpoint gives.

    Args:
        backfill: they are history that has been dealt with: recorded without alerts.
    """
    received_at = datetime.now(UTC)
    results: list[dict[str, Any] | None] = [None] * len(transactions)
    accepted: list[tuple[int, DecisionRequest]] = []
    for i, raw in enumerate(transactions):
        try:
            text = canonical_json(read_transaction_object(raw, received_at))
            accepted.append((i, request_now(text, backfill=backfill, trusted=True)))
        except ScoringError as error:
            results[i] = {"status": error.status, "error": problem_of(error, "")}
    decided = get_engine().decide([request for _, request in accepted]) if accepted else []
    for (i, _), result in zip(accepted, decided, strict=True):
        results[i] = _result(result)
    return [result for result in results if result is not None]


def _result(result: Decided | ScoringError) -> dict[str, Any]:
    if isinstance(result, ScoringError):
        return {"status": result.status, "error": problem_of(result, "")}
    return {"status": 200, "replayed": result.replayed, "decision": msgspec.json.decode(result.body)}
