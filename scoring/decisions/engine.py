"""The engine of a process: feature state, program and lists, and the path from a request to a committed decision."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from django.db import DatabaseError, IntegrityError, connection

from scoring.decisions.answer import encode_answer
from scoring.decisions.ownership import claim_database
from scoring.decisions.program_source import ProgramSource
from scoring.decisions.score_batch import ScoredBatch, score_batch
from scoring.decisions.state_keeper import StateKeeper
from scoring.engine import FeatureSchema, LadderCounters, Outcome
from scoring.entity_index import catch_up
from scoring.errors import EngineUnavailable, ScoringError, TransactionConflict
from scoring.features.columns import TransactionColumns
from scoring.features.state import FeatureState
from scoring.ledger import LedgerRow, commit_decisions, find_answers
from scoring.rules.lists import ListSnapshot, read_lists
from scoring.telemetry import EngineCounters
from scoring.transactions import Transaction, canonical_json, digest

logger = logging.getLogger(__name__)

_NOT_STORED = "the decision could not be stored; send it again, which is safe: a transaction_id is decided once"


@dataclass(frozen=True)
class PendingDecision:
    """An accepted transaction on its way through the engine.

    With `backfill` it is history that the bank has dealt with already: it is recorded and learned from, but nobody is
    alerted. Where no model decided on it, its mode is backfill, and it counts in no figure of accuracy.
    """

    transaction: Transaction
    canonical: bytes
    received_at: datetime
    queued_ns: int
    backfill: bool = False


@dataclass(frozen=True)
class Decided:
    """The stored answer, byte for byte; `replayed` where the transaction had been decided before."""

    body: bytes
    replayed: bool


def pending(transaction: Transaction, received_at: datetime, *, backfill: bool = False) -> PendingDecision:
    """Return the request for one decision."""
    return PendingDecision(transaction, canonical_json(transaction), received_at, time.perf_counter_ns(), backfill)


class DecisionEngine:
    """Decides batches. All methods but the constructor are called by one thread at a time.

    CUDA cannot be initialised again after a fork, so an engine is built in the process that serves, never in a parent.
    """

    def __init__(self) -> None:
        self.counters = EngineCounters()
        self._programs = ProgramSource()
        self._keeper = StateKeeper()
        self._lists = ListSnapshot()
        self._writer = self._programs.writer
        self._last_sample = time.monotonic()

    @property
    def program_version(self) -> str:
        return self._writer.program.version

    @property
    def refused_release(self) -> str | None:
        """Why the champion is not the program in use, where it is not."""
        return self._programs.refused

    @property
    def program_swaps(self) -> int:
        """How often a new program took over since the start."""
        return self._programs.swaps

    def ladder_counters(self) -> LadderCounters:
        """How batches were run since the start: by static programs or not, and why; any thread may ask."""
        return self._programs.ladder_counters()

    @property
    def schema(self) -> FeatureSchema:
        return self._writer.program.schema

    @property
    def state(self) -> FeatureState:
        return self._keeper.state

    # --- life cycle ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Load the champion and rebuild the feature state from the ledger.

        Raises:
            EngineUnavailable: another process decides on this database.
        """
        began = time.monotonic()
        claim_database()
        self._lists = read_lists(datetime.now(UTC))
        self._keeper.rebuild()
        self._programs.refresh()
        self._writer = self._programs.writer
        logger.info(
            "engine ready: program %s, %d remembered events in %d MB, %.1f s",
            self.program_version, self.state.event_count(), self.state.memory_bytes() >> 20, time.monotonic() - began,
        )  # fmt: skip

    def refresh(self, *, wait: bool = True) -> None:
        """Notice a new champion, new labels and changed lists; called every ENGINE_REFRESH_SECONDS between two batches.

        Each step by itself: one that fails is logged, and the others go on.

        Args:
            wait: see ProgramSource.refresh.
        """
        for step in (
            lambda: self._follow_champion(wait),
            self._read_lists,
            self._keeper.learn_new_labels,
            catch_up,
            self._write_sample,
        ):
            try:
                step()
            except Exception:
                logger.exception("a step of the refresh failed")
        claim_database()

    def _follow_champion(self, wait: bool) -> None:
        if self._programs.refresh(wait=wait):
            self._writer = self._programs.writer
            logger.info("program %s is live", self.program_version)

    def _read_lists(self) -> None:
        self._lists = read_lists(datetime.now(UTC))

    def _write_sample(self) -> None:
        now = time.monotonic()
        if now - self._last_sample >= 1.0:
            self.counters.write_sample(now - self._last_sample)
            self._last_sample = now

    # --- deciding --------------------------------------------------------------------------------------------------

    def decide(self, requests: list[PendingDecision]) -> list[Decided | ScoringError]:
        """Decide in order of arrival and return once everything is committed; one result a request.

        A repeated transaction gets its stored answer, another body under a known id a TransactionConflict.
        """
        try:
            self._keeper.settle_doubts()
            results = self._decide_once(requests)
        except IntegrityError:
            # Another process stored one of these ids between our look-up and our commit; now the look-up finds it.
            results = self._or_unavailable(requests)
        except DatabaseError:
            logger.exception("the batch of %d was not stored", len(requests))
            if not connection.in_atomic_block:  # inside a caller's transaction the connection is the caller's
                connection.close_if_unusable_or_obsolete()
            results = [EngineUnavailable(_NOT_STORED) for _ in requests]
        self.counters.count_batch(results)
        return results

    def _or_unavailable(self, requests: list[PendingDecision]) -> list[Decided | ScoringError]:
        try:
            return self._decide_once(requests)
        except DatabaseError:
            logger.exception("the batch of %d was not stored at the second attempt", len(requests))
            return [EngineUnavailable(_NOT_STORED) for _ in requests]

    def _decide_once(self, requests: list[PendingDecision]) -> list[Decided | ScoringError]:
        digests = [digest(request.canonical) for request in requests]
        stored = find_answers([request.transaction.transaction_id for request in requests])
        first: dict[str, int] = {}  # transaction id -> position among `fresh`
        fresh: list[int] = []
        for i, request in enumerate(requests):
            name = request.transaction.transaction_id
            if name not in stored and name not in first:
                first[name] = len(fresh)
                fresh.append(i)
        bodies = self._decide_fresh([requests[i] for i in fresh], [digests[i] for i in fresh]) if fresh else []
        results: list[Decided | ScoringError] = []
        for i, request in enumerate(requests):
            name = request.transaction.transaction_id
            if name in stored:
                known, body = stored[name].body_digest, stored[name].response.encode()
            else:
                known, body = digests[fresh[first[name]]], bodies[first[name]]
            is_first = name in first and fresh[first[name]] == i
            results.append(Decided(body, not is_first) if known == digests[i] else TransactionConflict())
        return results

    def _decide_fresh(self, requests: list[PendingDecision], digests: list[bytes]) -> list[bytes]:
        began = time.perf_counter_ns()
        transactions = [request.transaction for request in requests]
        decision_ids = new_decision_ids(len(requests))
        batch = self._keeper.columns(transactions, decision_ids)
        scored = self._score(transactions, batch)
        try:
            queued = [max(0, began - request.queued_ns) // 1000 for request in requests]
            backfill = [request.backfill for request in requests]
            answers = self._writer.answers(
                transactions, decision_ids, [r.received_at for r in requests], scored, queued, backfill
            )
            bodies = [encode_answer(answer) for answer in answers]
            engine_us = (time.perf_counter_ns() - began) // 1000
            rows = [
                _ledger_row(request, digests[i], scored, i, answers[i], bodies[i], self._writer.program, engine_us)
                for i, request in enumerate(requests)
            ]
            alerting = [row.decision_id for i, row in enumerate(rows) if row.outcome >= Outcome.REVIEW and not backfill[i]]
            commit_decisions(rows, alerting, requests[0].received_at)
        except BaseException as error:
            self.state.take_back(batch, scored.rows)
            if isinstance(error, DatabaseError) and not isinstance(error, IntegrityError):
                self._keeper.doubt(transactions)
            raise
        self.counters.count_decisions(scored.outcome, sum(answer.degraded for answer in answers))
        return bodies

    def _score(self, transactions: list[Transaction], batch: TransactionColumns) -> ScoredBatch:
        program = self._writer.program
        return score_batch(self.state, program, batch, self._lists.memberships(transactions, program.list_names))

    def dry_run(self, transactions: list[Transaction], received_at: datetime) -> tuple[list[bytes], np.ndarray]:
        """Return the answers that would be given and the features [n, F]; nothing is stored, remembered or counted."""
        n = len(transactions)
        batch = self.state.tokens.columns(transactions, [0] * n, remember=False)
        scored = self._score(transactions, batch)
        answers = self._writer.answers(transactions, [""] * n, [received_at] * n, scored, [0] * n, [False] * n)
        return [encode_answer(answer) for answer in answers], scored.rows.x


def new_decision_ids(count: int) -> list[str]:
    """Return version 7 UUIDs (RFC 9562): they sort by time, so that indexes grow at one end."""
    milliseconds = time.time_ns() // 1_000_000
    random = os.urandom(10 * count).hex()
    head = f"{milliseconds:012x}"
    prefix = f"{head[:8]}-{head[8:]}-7"
    found = []
    for i in range(0, 20 * count, 20):
        variant = "89ab"[int(random[i + 3], 16) & 3]
        found.append(f"{prefix}{random[i : i + 3]}-{variant}{random[i + 4 : i + 7]}-{random[i + 7 : i + 19]}")
    return found


def _ledger_row(
    request: PendingDecision, body_digest: bytes, scored: ScoredBatch, i: int, answer, body: bytes, program, engine_us: int
) -> LedgerRow:
    t = request.transaction
    margin = float(scored.result.margin[i])
    return LedgerRow(
        decision_id=answer.decision_id,
        transaction_id=t.transaction_id,
        body_digest=body_digest,
        occurred_at=t.occurred_at,
        received_at=request.received_at,
        amount_minor=t.amount_minor,
        currency=t.currency,
        type=t.type,
        channel=t.channel,
        customer_id=t.customer_id,
        account_id=t.account_id,
        card_id=t.card_id,
        merchant_id=t.merchant_id,
        terminal_id=t.terminal_id,
        device_id=t.device_id,
        counterparty_id=t.counterparty_id,
        country=t.country,
        transaction=request.canonical.decode(),
        outcome=int(scored.outcome[i]),
        score=answer.score,
        probability=None if answer.probability is None else float(scored.result.probability[i]),
        margin=None if np.isnan(margin) else margin,
        features=scored.rows.x[i].tobytes(),
        feature_schema=program.schema.version,
        program_version=program.version,
        degraded=answer.degraded,
        mode=answer.mode,
        engine_us=engine_us,
        response=body.decode(),
    )


__all__ = ["Decided", "DecisionEngine", "PendingDecision", "new_decision_ids", "pending"]
