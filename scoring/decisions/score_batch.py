"""The one function that scores: a payment, a batch, a backfill and a benchmark all pass through here."""

from __future__ import annotations

import logging
import time
from typing import NamedTuple

import numpy as np

from scoring.decisions.stamps import Stamp
from scoring.engine import DecidedRows, RiskProgram, RowFlags, ScoredRows
from scoring.features.columns import TransactionColumns
from scoring.features.state import FeatureRows, FeatureState

TOP_CONTRIBUTIONS = 4
# Arithmetic of an IntFlag takes a microsecond.
_LATE, _NO_MODEL, _MODEL_FAILED, _RULE_FAILED = map(
    int, (Stamp.LATE_EVENT, Stamp.RULES_ONLY, Stamp.DEGRADED_MODEL, Stamp.DEGRADED_RULES)
)
_FEATURES, _DEVICE, _REDUCED = int(Stamp.DEGRADED_FEATURES), int(Stamp.DEGRADED_DEVICE), int(Stamp.REDUCED_PROGRAM)
logger = logging.getLogger(__name__)


class ScoredBatch(NamedTuple):
    """What is known of n transactions before anything is stored.

    Attributes:
        rows: features, entities and lateness.
        scored: what the program said.
        decided: what follows from it; stamps are Stamp bits, outcomes Outcome codes.
        features_us, program_us: time for the whole batch, microseconds; of the program with what follows from it.
        stage_ns: nanoseconds of the features, of the program alone, and of what follows from it.
        model_failed: the program could not run, and its rules alone did.
        reduced: it ran without its net.
    """

    rows: FeatureRows
    scored: ScoredRows
    decided: DecidedRows
    features_us: int
    program_us: int
    stage_ns: tuple[int, int, int]
    model_failed: bool = False
    reduced: bool = False


def score_batch(
    state: FeatureState,
    program: RiskProgram,
    batch: TransactionColumns,
    memberships: np.ndarray | None = None,
    *,
    rules_alone: RiskProgram | None = None,
    offline_limit_minor: int = 0,
    marks: int = 0,
    reduced: bool = False,
) -> ScoredBatch:
    """Answer transactions as if they came one by one in this order; the state absorbs those with `insert` set.

    Args:
        memberships: bool [n, L], which lists each transaction is on; None for none.
        rules_alone: the program without its model, which answers where the program itself fails.
        offline_limit_minor: up to this amount a payment without a probability is approved, unless a rule objects, where
            there should have been one.
        marks: Stamp bits that every transaction of the batch carries.
        reduced: without the program's net, where it has one; stamped.
    """
    reduced = reduced and program.has_reduced
    start = time.perf_counter_ns()
    rows = state.process(batch)
    middle = time.perf_counter_ns()
    failed = False
    try:
        scored = program.score(rows.x, memberships, TOP_CONTRIBUTIONS, reduced=reduced)
    except Exception:
        if rules_alone is None:
            state.take_back(batch, rows)  # what got no answer must not be remembered
            raise
        logger.exception("program %s failed on a batch of %d: its rules alone decide", program.version, len(batch))
        scored, failed = _by_rules_alone(state, rules_alone, batch, rows, memberships), True
    ran = time.perf_counter_ns()
    if rows.degraded:
        marks |= _FEATURES
    if (program.reduced_executor if reduced else program.executor).device_failed:
        marks |= _DEVICE
    reduced = reduced and not failed
    if reduced:
        marks |= _REDUCED
    flags = RowFlags(marks, _LATE, _MODEL_FAILED if program.forest is not None else _NO_MODEL, _RULE_FAILED)
    decided = program.decide(scored, rows.x, batch.amount_minor, rows.late, flags, offline_limit_minor)
    end = time.perf_counter_ns()
    stage_ns = middle - start, ran - middle, end - ran
    times = (middle - start) // 1000, (end - middle) // 1000
    return ScoredBatch(rows, scored, decided, *times, stage_ns, failed, reduced)


def _by_rules_alone(
    state: FeatureState, program: RiskProgram, batch: TransactionColumns, rows: FeatureRows, memberships: np.ndarray | None
) -> ScoredRows:
    try:
        return program.score(rows.x, memberships, TOP_CONTRIBUTIONS)
    except BaseException:
        state.take_back(batch, rows)
        raise
