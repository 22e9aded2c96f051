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
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

import numpy as np
from django.conf import settings
from django.db import DatabaseError, IntegrityError, connection

from scoring.decisions.accepted import Accepted, read_requests
from scoring.decisions.ledger_rows import ledger_rows
from scoring.decisions.ownership import claim_database
from scoring.decisions.program_source import LiveProgram, ProgramSource
from scoring.decisions.requests import Decided, DecisionRequest, NewAnswers, ReadBatch
from scoring.decisions.schedule import REDUCED, VARIANT
from scoring.decisions.score_batch import ScoredBatch, score_batch
from scoring.decisions.stamps import DEGRADING, Stamp
from scoring.decisions.state_keeper import StateKeeper
from scoring.engine import (
    ID_BYTES,
    RANDOM_BYTES,
    AnswerColumns,
    FeatureSchema,
    LadderCounters,
    Outcome,
    ordered_ids,
    render_answers,
    table_rows,
)
from scoring.entity_index import catch_up
from scoring.errors import EngineUnavailable, ScoringError, TransactionConflict
from scoring.features.columns import TransactionColumns
from scoring.features.state import FeatureState
from scoring.histograms import COMMIT, DECIDE, FEATURES, IDEMPOTENCY, PARSE, PROGRAM, RENDER
from scoring.ledger import StoredAnswer, commit_decisions, find_answers
from scoring.protection.guards import guards
from scoring.rules.lists import ListSnapshot, read_lists
from scoring.telemetry import EngineCounters
from scoring.turns import ledger_turn

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
        reduced: whether the program is to run without its net, where it has one.
    """

    requests: Sequence[DecisionRequest]
    accepted: Accepted
    results: Sequence[Decided | ScoringError | None]
    must_look_up: bool
    stored: dict[str, StoredAnswer] = field(default_factory=dict)
    rows: table_rows.TableRows | None = None
    last_decision_id: str = ""
    alerting: bytes = b""  # decision ids, ID_BYTES each
    first: dict[str, int] | None = None  # transaction id -> position among the new ones, where some are not
    bodies: Sequence[bytes] = ()
    fresh: Accepted | None = None
    columns: TransactionColumns | None = None
    scored: ScoredBatch | None = None
    degraded: int = 0
    is_second: bool = False
    reduced: bool = False


class DecisionEngine:
    """Decides batches. All methods but the constructor are called by one party at a time; see the module's text.

    CUDA cannot be initialised again after a fork, so an engine is built in the process that serves, never in a parent.
    """

    def __init__(self) -> None:
        self.counters = EngineCounters()
        self._programs = ProgramSource()
        self._keeper = StateKeeper()
        self._lists = ListSnapshot()
        self._last_sample = time.monotonic()
        self._seen_batches = 0

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
    def saved_row_us(self) -> float:
        """What running the program in use without its net saves of each row; 0 where it has none."""
        return self._programs.live.saved_row_us

    @property
    def schema(self) -> FeatureSchema:
        return self._programs.current.schema

    def shared_log_counters(self) -> dict[str, int]:
        """What the state did with the log that it shares with other processes; empty where it shares none."""
        return asdict(self._keeper.shared.counters) if self._keeper.shared else {}

    def shared_log_lost(self) -> int | None:
        """1 where the state does not follow the log that it should share, else 0; None where it shares none."""
        return int(self._keeper.shared.degraded) if self._keeper.shared else None

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

    def refresh(
        self,
        *,
        wait: bool = True,
        between_batches: Callable[[Callable[[], None]], None] = lambda act: act(),
        busy_share: float = 1.0,
    ) -> None:
        """Notice a new champion, new labels and changed lists, and write down what happened; every ENGINE_REFRESH_SECONDS.

        Each step by itself: one that fails is logged, and the others go on. It reads and writes the database in the
        caller's thread, while batches may be under way.

        Args:
            wait: see ProgramSource.refresh.
            between_batches: runs what changes the state that batches work with.
            busy_share: share of the time that the index of entities may take while decisions are being made; what is left
                waits for a quieter moment, or for a reader who needs it.
        """
        is_busy, self._seen_batches = self.counters.batches > self._seen_batches, self.counters.batches
        for step in (
            lambda: self._follow_champion(wait),
            self._read_lists,
            lambda: self._keeper.keep_up(between_batches),
            lambda: self._keeper.learn_new_labels(between_batches),
            lambda: self._keeper.forget_idle(between_batches),
            lambda: self._keeper.save_when_due(between_batches),
            lambda: catch_up(busy_share if is_busy else 1.0),
            self._write_sample,
        ):
            try:
                step()
            except EngineUnavailable as error:  # the batcher takes nothing more: the process is stopping
                logger.info("a step of the refresh was left out: %s", error)
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
            with ledger_turn():
                self.counters.write_sample(now - self._last_sample)
            self._last_sample = now

    def close(self) -> None:
        """Take leave of the other engine processes; nothing is decided afterwards."""
        self._keeper.leave()

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
                return list(work.results)

    def begin(self, requests: Sequence[DecisionRequest], reduced: bool = False) -> BatchWork:
        """Read the bodies; what breaks its contract has its result already. reduced: see BatchWork."""
        began = time.perf_counter()
        accepted, refusals = read_requests(requests)
        read = time.perf_counter()
        must_look_up = self._keeper.has_doubts or self._keeper.known.may_hold_any(accepted.records.text, *accepted.id_spans)
        stages, n = self.counters.stages, len(requests)
        before = requests.read_seconds if type(requests) is ReadBatch else 0.0
        stages.observe(PARSE, before + read - began, n)
        stages.observe(IDEMPOTENCY, time.perf_counter() - read, n)
        return BatchWork(requests, accepted, refusals, must_look_up, reduced=reduced)

    def look_up(self, work: BatchWork) -> None:
        """Find the stored answers of those that may be known; settles the doubts of earlier commits first."""
        began = time.perf_counter()
        self._keeper.settle_doubts()
        work.stored = find_answers(work.accepted.ids)
        self.counters.stages.observe(IDEMPOTENCY, time.perf_counter() - began, len(work.requests))

    def prepare(self, work: BatchWork) -> None:
        """Score what is new, up to the rows that are to be committed."""
        ids = work.accepted.ids
        if not work.stored and len(set(ids)) == len(ids):
            work.first = None  # all are new, and each comes once
            fresh = work.accepted
        else:
            work.first, new = {}, []
            for i, name in enumerate(ids):
                if name not in work.stored and name not in work.first:
                    work.first[name] = len(new)
                    new.append(i)
            fresh = work.accepted.take(new) if new else None
        if fresh is not None and len(fresh):
            self._prepare_fresh(work, fresh)

    def _prepare_fresh(self, work: BatchWork, fresh: Accepted) -> None:
        began = time.perf_counter_ns()
        live = self._programs.live
        decision_ids, keys = new_decision_ids(len(fresh))
        work.fresh, work.columns = fresh, self.state.tokens.columns_of(fresh.records, keys, remember=True)
        work.scored = scored = self._score(live, fresh, work.columns, self._marks(), work.reduced)
        decided = scored.decided
        needs_person = decided.outcome >= _REVIEW
        received_us, queued_ns, backfill = _times_of(work.requests, fresh.places)
        if backfill is not None:
            decided.stamps[backfill] = decided.stamps[backfill] & ~np.uint32(Stamp.RULES_ONLY) | np.uint32(Stamp.BACKFILL)
            needs_person &= ~backfill
        queue_us = np.maximum(began - queued_ns, 0) // 1000
        answers = _answer_columns(fresh, scored, decision_ids, received_us, queue_us)
        work.bodies = list(render_answers(live.form, answers))
        self._observe(scored, time.perf_counter_ns() - began, len(fresh))
        engine_us = (time.perf_counter_ns() - began) // 1000
        work.rows, work.last_decision_id = ledger_rows(fresh, scored, answers, live, engine_us), decision_ids[-ID_BYTES:].decode()
        work.alerting = np.frombuffer(decision_ids, np.uint8).reshape(-1, ID_BYTES)[needs_person].tobytes()
        work.degraded = int(np.count_nonzero(decided.stamps & np.uint32(DEGRADING)))

    def _marks(self) -> int:
        """Return the stamps that every decision of the moment carries."""
        return int(Stamp.CLOCK_STEP) if guards().clock.has_stepped else 0

    def _observe(self, scored: ScoredBatch, took_ns: int, rows: int) -> None:
        """Note the times of a batch; what is none of the three is rendering, with the numbering of the entities."""
        stages, (features, program, decide) = self.counters.stages, scored.stage_ns
        stages.observe(FEATURES, features / 1e9, rows)
        variant = "rules" if scored.model_failed else REDUCED if scored.reduced else VARIANT
        self.counters.program_stages("cpu", variant).observe(PROGRAM, program / 1e9, rows)
        stages.observe(DECIDE, decide / 1e9, rows)
        stages.observe(RENDER, (took_ns - features - program - decide) / 1e9, rows)

    def _score(
        self, live: LiveProgram, accepted: Accepted, columns: TransactionColumns, marks: int = 0, reduced: bool = False
    ) -> ScoredBatch:
        return score_batch(
            self.state,
            live.program,
            columns,
            self._lists.memberships(accepted, live.program.list_names),
            rules_alone=live.rules_alone,
            offline_limit_minor=settings.OFFLINE_LIMIT_MINOR,
            marks=marks,
            reduced=reduced,
        )

    def commit(self, work: BatchWork) -> None:
        """Store the rows and what must follow from them, in one transaction; on return they are on disk."""
        began = time.perf_counter()
        try:
            commit_decisions(work.rows, work.alerting, datetime.now(UTC))
            self.counters.stages.observe(COMMIT, time.perf_counter() - began, len(work.fresh))
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
            if isinstance(error, ScoringError):  # a session that could lose what is answered
                work.results = [error if result is None else result for result in work.results]
                return True
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
                self.state.confirm(work.scored.rows)
                self._keeper.known.add(work.fresh.records.text, *work.fresh.id_spans)
                self._keeper.note_committed(work.last_decision_id)
                self.counters.count_decisions(work.scored.decided.outcome, work.degraded, work.scored.decided.stamps)
        # Of answers that are all new there is nothing else to count.
        self.counters.count_batch(work.results[:1] if type(work.results) is NewAnswers else work.results)
        return True

    def abandon(self, work: BatchWork) -> None:
        """Forget a batch that failed unexpectedly: what got no answer must not be remembered."""
        self._take_back(work)

    def _take_back(self, work: BatchWork) -> None:
        if work.scored is not None:
            self.state.take_back(work.columns, work.scored.rows)
        work.scored, work.rows, work.bodies = None, None, ()

    def _fill_in(self, work: BatchWork) -> None:
        accepted, fresh, results = work.accepted, work.fresh, work.results
        if work.first is None:
            if type(work.requests) is ReadBatch and len(accepted) == len(results):
                work.results = NewAnswers(work.bodies)
                return
            for place, body in zip(accepted.places, work.bodies, strict=True):
                results[place] = Decided(body, False)
            return
        for place, name, text in zip(accepted.places, accepted.ids, accepted.texts, strict=True):
            if stored := work.stored.get(name):
                known, result = stored.transaction, stored.damage or Decided(stored.body, True)
            else:
                at = work.first[name]
                known, result = fresh.texts[at], Decided(work.bodies[at], fresh.places[at] != place)
            results[place] = result if known == text else TransactionConflict()

    def dry_run(self, request: DecisionRequest) -> tuple[bytes, np.ndarray]:
        """Return the answer that would be given and the features [F]; nothing is stored, remembered or counted.

        Raises:
            InvalidInput: the body breaks its contract.
        """
        accepted, (refusal,) = read_requests([request])
        if refusal is not None:
            raise refusal
        live = self._programs.live
        columns = self.state.tokens.columns_of(accepted.records, np.zeros(1, np.uint64), remember=False)
        scored = self._score(live, accepted, columns)
        received_us, no_time = np.array([request.received_us], np.int64), np.zeros(1, np.int64)
        answers = _answer_columns(accepted, scored, b"-" * ID_BYTES, received_us, no_time)
        (body,) = render_answers(live.form, answers)
        return body, scored.rows.x[0]


def new_decision_ids(count: int) -> tuple[bytes, np.ndarray]:
    """Return version 7 UUIDs, ID_BYTES each and one behind the other, and their event keys; see kernels.ordered_ids.

    They sort by time, so that indexes grow at one end. An event's key, uint64 [count], by which the feature state knows it
    again, is the last 48 bits of its decision's id.
    """
    drawn = os.urandom(RANDOM_BYTES * count + 2)
    # A start in the lower half leaves the ids of a batch in their order.
    return ordered_ids(time.time_ns() // 1_000_000, int.from_bytes(drawn[:2]) & 0x7FF, drawn[2:])


_REVIEW = int(Outcome.REVIEW)


def _times_of(
    requests: Sequence[DecisionRequest], places: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return of the requests at n places received_us and queued_ns, int64 [n], and which are backfill, bool [n], or None
    where none is."""
    n = len(places)
    if type(requests) is ReadBatch:
        every = n == len(requests)
        return (*((of if every else of[places]) for of in (requests.received_us, requests.queued_ns)), None)
    if n < len(requests):
        requests = [requests[place] for place in places]
    received_us = np.fromiter([request.received_us for request in requests], np.int64, n)
    queued_ns = np.fromiter([request.queued_ns for request in requests], np.int64, n)
    backfill = [request.backfill for request in requests]
    return received_us, queued_ns, np.array(backfill) if True in backfill else None


def _answer_columns(
    accepted: Accepted, scored: ScoredBatch, decision_ids: bytes, received_us: np.ndarray, queue_us: np.ndarray
) -> AnswerColumns:
    n, decided, records = len(accepted), scored.decided, accepted.records
    starts, lengths = accepted.id_spans
    times = np.empty((3, n), np.uint32)
    times[0], times[1], times[2] = np.minimum(queue_us, 0xFFFFFFFF), scored.features_us, scored.program_us
    queue, features, program = times
    return AnswerColumns(
        decision_ids=decision_ids,
        text=records.text,
        probability=decided.probability,
        occurred_us=records.integers["occurred_at"],
        received_us=received_us,
        id_starts=starts.copy(),
        id_lengths=lengths.copy(),
        score=decided.score,
        top_features=decided.safe_features,
        top_contributions=scored.scored.top_contributions,
        top_values=decided.top_values,
        stamps=decided.stamps,
        queue_us=queue,
        features_us=features,
        program_us=program,
        outcome=decided.outcome,
        rule_codes=decided.rule_codes,
    )


__all__ = ["BatchWork", "Decided", "DecisionEngine", "DecisionRequest", "new_decision_ids"]
