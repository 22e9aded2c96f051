"""The engine of a process: feature state, program and lists, and the stages from a request to a committed decision.

    begin     read the bodies, and tell new transactions from those that may be known      no database
    look_up   the stored answers of those that may be known                                database
    prepare   features, program, outcome, answer, ledger rows                              no database
    commit    one transaction for the whole batch                                          database
    finish    results in order of arrival                                                  no database

`decide` runs them all in the caller's thread; the Batcher runs those without the database on the event loop.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from django.db import DatabaseError, IntegrityError, connection

from scoring.decisions.accepted import Accepted, read_requests
from scoring.decisions.answer import encode_answer
from scoring.decisions.known_ids import KnownIds
from scoring.decisions.ownership import claim_database
from scoring.decisions.program_source import ProgramSource
from scoring.decisions.requests import Decided, DecisionRequest
from scoring.decisions.score_batch import ScoredBatch, score_batch
from scoring.decisions.state_keeper import StateKeeper
from scoring.engine import FeatureSchema, LadderCounters, Outcome
from scoring.entity_index import catch_up
from scoring.errors import EngineUnavailable, ScoringError, TransactionConflict
from scoring.features.columns import TransactionColumns
from scoring.features.state import FeatureState
from scoring.ledger import LedgerRow, StoredAnswer, commit_decisions, find_answers
from scoring.rules.lists import ListSnapshot, read_lists
from scoring.telemetry import EngineCounters

logger = logging.getLogger(__name__)

_NOT_STORED = "the decision could not be stored; send it again, which is safe: a transaction_id is decided once"


@dataclass
class BatchWork:
    """A batch on its way through the engine's stages.

    Attributes:
        requests: in order of arrival.
        results: one a request, when the batch is finished.
        rows: what is to be committed; None where there is nothing new.
        must_look_up: whether `look_up` has to come before `prepare`.
    """

    requests: Sequence[DecisionRequest]
    accepted: Accepted
    results: list[Decided | ScoringError | None]
    must_look_up: bool
    stored: dict[str, StoredAnswer] = field(default_factory=dict)
    rows: list[LedgerRow] | None = None
    alerting: list[str] = field(default_factory=list)
    first: dict[str, int] = field(default_factory=dict)  # transaction id -> position among the new ones
    bodies: list[bytes] = field(default_factory=list)
    fresh: Accepted | None = None
    columns: TransactionColumns | None = None
    scored: ScoredBatch | None = None
    degraded: int = 0
    is_second: bool = False


class DecisionEngine:
    """Decides batches. All methods but the constructor are called by one party at a time; see the module's text.

    CUDA cannot be initialised again after a fork, so an engine is built in the process that serves, never in a parent.
    """

    def __init__(self) -> None:
        self.counters = EngineCounters()
        self._programs = ProgramSource()
        self._keeper = StateKeeper()
        self._lists = ListSnapshot()
        self._known = KnownIds()
        self._last_sample = time.monotonic()

    @property
    def program_version(self) -> str:
        return self._programs.current.version

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
        return self._programs.current.schema

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
        logger.info(
            "engine ready: program %s, %d remembered events in %d MB, %.1f s",
            self.program_version, self.state.event_count(), self.state.memory_bytes() >> 20, time.monotonic() - began,
        )  # fmt: skip

    def refresh(self, *, wait: bool = True, between_batches: Callable[[Callable[[], None]], None] = lambda act: act()) -> None:
        """Notice a new champion, new labels and changed lists, and write down what happened; every ENGINE_REFRESH_SECONDS.

        Each step by itself: one that fails is logged, and the others go on. It reads and writes the database in the
        caller's thread, while batches may be under way.

        Args:
            wait: see ProgramSource.refresh.
            between_batches: runs what changes the state that batches work with.
        """
        for step in (
            lambda: self._follow_champion(wait),
            self._read_lists,
            lambda: self._keeper.learn_new_labels(between_batches),
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
            logger.info("program %s is live", self.program_version)

    def _read_lists(self) -> None:
        self._lists = read_lists(datetime.now(UTC))

    def _write_sample(self) -> None:
        now = time.monotonic()
        if now - self._last_sample >= 1.0:
            self.counters.write_sample(now - self._last_sample)
            self._last_sample = now

    # --- deciding --------------------------------------------------------------------------------------------------

    def decide(self, requests: Sequence[DecisionRequest]) -> list[Decided | ScoringError]:
        """Decide in order of arrival and return once everything is committed; one result a request.

        A repeated transaction gets its stored answer, another body under a known id a TransactionConflict, a body that
        breaks its contract an InvalidInput.
        """
        work = self.begin(requests)
        while True:
            error = None
            try:
                if work.must_look_up:
                    self.look_up(work)
                self.prepare(work)
                if work.rows is not None:
                    self.commit(work)
            except DatabaseError as failure:
                error = failure
            except BaseException:
                self.abandon(work)
                raise
            if self.finish(work, error):
                return work.results

    def begin(self, requests: Sequence[DecisionRequest]) -> BatchWork:
        """Read the bodies; what breaks its contract has its result already."""
        accepted, refusals = read_requests(requests)
        must_look_up = self._keeper.has_doubts or self._known.may_hold_any(accepted.ids)
        return BatchWork(requests, accepted, refusals, must_look_up)

    def look_up(self, work: BatchWork) -> None:
        """Find the stored answers of those that may be known; settles the doubts of earlier commits first."""
        self._keeper.settle_doubts()
        work.stored = find_answers(work.accepted.ids)

    def prepare(self, work: BatchWork) -> None:
        """Score what is new, up to the rows that are to be committed."""
        fresh: list[int] = []
        for i, name in enumerate(work.accepted.ids):
            if name not in work.stored and name not in work.first:
                work.first[name] = len(fresh)
                fresh.append(i)
        if fresh:
            self._prepare_fresh(work, work.accepted.take(fresh))

    def _prepare_fresh(self, work: BatchWork, fresh: Accepted) -> None:
        began = time.perf_counter_ns()
        requests = [work.requests[place] for place in fresh.places]
        decision_ids = new_decision_ids(len(fresh))
        writer = self._programs.writer
        work.fresh, work.columns = fresh, self._keeper.columns(fresh.transactions, decision_ids)
        work.scored = scored = score_batch(
            self.state, writer.program, work.columns, self._lists.memberships(fresh.transactions, writer.program.list_names)
        )
        queued = [max(0, began - request.queued_ns) // 1000 for request in requests]
        backfill = [request.backfill for request in requests]
        received = [datetime.fromtimestamp(request.received_us / 1e6, UTC) for request in requests]
        answers = writer.answers(fresh.transactions, decision_ids, received, scored, queued, backfill)
        work.bodies = [encode_answer(answer) for answer in answers]
        engine_us = (time.perf_counter_ns() - began) // 1000
        work.rows = [
            _ledger_row(fresh, i, received[i], scored, answers[i], work.bodies[i], writer.program, engine_us)
            for i in range(len(fresh))
        ]
        work.alerting = [row.decision_id for i, row in enumerate(work.rows) if row.outcome >= Outcome.REVIEW and not backfill[i]]
        work.degraded = sum(answer.degraded for answer in answers)

    def commit(self, work: BatchWork) -> None:
        """Store the rows and what must follow from them, in one transaction; on return they are on disk."""
        try:
            commit_decisions(work.rows, work.alerting, datetime.now(UTC))
        except DatabaseError:
            if not connection.in_atomic_block:  # inside a caller's transaction the connection is the caller's
                connection.close_if_unusable_or_obsolete()
            raise

    def finish(self, work: BatchWork, error: BaseException | None) -> bool:
        """Fill in the results; False where the batch has to be looked up and prepared once more.

        Raises:
            BaseException: `error`, where it is none of the database's.
        """
        if error is not None:
            self._take_back(work)
            if isinstance(error, IntegrityError) and not work.is_second:
                # Somebody else stored one of these ids between our look-up and our commit; now the look-up finds it.
                work.is_second = work.must_look_up = True
                return False
            if not isinstance(error, DatabaseError):
                raise error
            logger.error("the batch of %d was not stored", len(work.requests), exc_info=error)
            if not isinstance(error, IntegrityError) and work.fresh is not None:
                self._keeper.doubt(work.fresh.ids)
            unavailable = EngineUnavailable(_NOT_STORED)
            work.results = [unavailable if result is None else result for result in work.results]
        else:
            self._fill_in(work)
            if work.rows is not None:
                self._known.add(work.fresh.ids)
                self.counters.count_decisions(work.scored.outcome, work.degraded)
        self.counters.count_batch(work.results)
        return True

    def abandon(self, work: BatchWork) -> None:
        """Forget a batch that failed unexpectedly: what got no answer must not be remembered."""
        self._take_back(work)

    def _take_back(self, work: BatchWork) -> None:
        if work.scored is not None:
            self.state.take_back(work.columns, work.scored.rows)
        work.scored, work.rows, work.bodies = None, None, []
        work.first.clear()

    def _fill_in(self, work: BatchWork) -> None:
        accepted, fresh = work.accepted, work.fresh
        for i, name in enumerate(accepted.ids):
            place = accepted.places[i]
            if name in work.stored:
                known, body, is_first = work.stored[name].transaction, work.stored[name].response.encode(), False
            else:
                at = work.first[name]
                known, body, is_first = fresh.texts[at], work.bodies[at], fresh.places[at] == place
            work.results[place] = Decided(body, not is_first) if known == accepted.texts[i] else TransactionConflict()

    def dry_run(self, request: DecisionRequest) -> tuple[bytes, np.ndarray]:
        """Return the answer that would be given and the features [F]; nothing is stored, remembered or counted.

        Raises:
            InvalidInput: the body breaks its contract.
        """
        accepted, (refusal,) = read_requests([request])
        if refusal is not None:
            raise refusal
        writer, received = self._programs.writer, datetime.fromtimestamp(request.received_us / 1e6, UTC)
        batch = self.state.tokens.columns(accepted.transactions, [0], remember=False)
        memberships = self._lists.memberships(accepted.transactions, writer.program.list_names)
        scored = score_batch(self.state, writer.program, batch, memberships)
        (answer,) = writer.answers(accepted.transactions, [""], [received], scored, [0], [False])
        return encode_answer(answer), scored.rows.x[0]


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
    fresh: Accepted, i: int, received_at: datetime, scored: ScoredBatch, answer, body: bytes, program, engine_us: int
) -> LedgerRow:
    t = fresh.transactions[i]
    margin = float(scored.result.margin[i])
    return LedgerRow(
        decision_id=answer.decision_id,
        transaction_id=t.transaction_id,
        occurred_at=t.occurred_at,
        received_at=received_at,
        amount_minor=t.amount_minor,
        currency=t.currency,
        type=t.type,
        channel=t.channel,
        customer_id=t.customer_id,
        card_id=t.card_id,
        merchant_id=t.merchant_id,
        country=t.country,
        transaction=fresh.texts[i],
        outcome=int(scored.outcome[i]),
        score=answer.score,
        probability=None if answer.probability is None else float(scored.result.probability[i]),
        margin=None if np.isnan(margin) else margin,
        features=scored.rows.x[i].tobytes(),
        feature_schema=program.schema.version,
        program_version=program.version,
        degraded=answer.degraded,
        mode=answer.mode,
        stamps=0,
        engine_us=engine_us,
        form_id=None,
        evidence=None,
        response=body.decode(),
    )


__all__ = ["BatchWork", "Decided", "DecisionEngine", "DecisionRequest", "new_decision_ids"]
