"""The one function that scores: a payment, a batch, a backfill and a benchmark all pass through here."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import numpy as np

from scoring.decisions.stamps import Stamp
from scoring.engine import Outcome, ProgramResult, RiskProgram, RuleOutcome
from scoring.features.columns import TransactionColumns
from scoring.features.state import FeatureRows, FeatureState

TOP_CONTRIBUTIONS = 4
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoredBatch:
    """What is known of n transactions before anything is stored.

    Attributes:
        rows: features, entities and lateness.
        result: what the program said.
        outcome: [n] uint8 Outcome codes, the strictest of what the costs and the rules demand.
        cost_outcome: [n] uint8, what the costs alone demand.
        risk: [n] float64 probability with the rules' weights joined in; the score is 1000 times this.
        stamps: [n] uint32 Stamp bits.
        features_us, program_us: time for the whole batch, microseconds; of the program with what follows from it.
        stage_ns: nanoseconds of the features, of the program alone, and of what follows from it.
        model_failed: the program could not run, and its rules alone did.
    """

    rows: FeatureRows
    result: ProgramResult
    outcome: np.ndarray
    cost_outcome: np.ndarray
    risk: np.ndarray
    stamps: np.ndarray
    features_us: int
    program_us: int
    stage_ns: tuple[int, int, int]
    model_failed: bool = False


def score_batch(
    state: FeatureState,
    program: RiskProgram,
    batch: TransactionColumns,
    memberships: np.ndarray | None = None,
    *,
    rules_alone: RiskProgram | None = None,
    offline_limit_minor: int = 0,
) -> ScoredBatch:
    """Answer transactions as if they came one by one in this order; the state absorbs those with `insert` set.

    Args:
        memberships: bool [n, L], which lists each transaction is on; None for none.
        rules_alone: the program without its model, which answers where the program itself fails.
        offline_limit_minor: up to this amount a payment without a probability is approved, unless a rule objects, where
            there should have been one.
    """
    start = time.perf_counter_ns()
    rows = state.process(batch)
    middle = time.perf_counter_ns()
    failed = False
    try:
        result = program.run(rows.x, memberships, TOP_CONTRIBUTIONS)
    except Exception:
        if rules_alone is None:
            state.take_back(batch, rows)  # what got no answer must not be remembered
            raise
        logger.exception("program %s failed on a batch of %d: its rules alone decide", program.version, len(batch))
        result, failed = _by_rules_alone(state, rules_alone, batch, rows, memberships), True
    ran = time.perf_counter_ns()
    has_model = program.forest is not None
    missing = np.isnan(result.probability)
    demanded, survival, in_error = _rule_demands(program, result)
    cost_outcome = program.policy.outcomes(result.probability, batch.amount_minor)
    if has_model and missing.any():
        offline = missing & (batch.amount_minor <= offline_limit_minor) if offline_limit_minor > 0 else False
        cost_outcome = np.where(offline, np.uint8(Outcome.APPROVE), cost_outcome)
    stamps = np.where(rows.late, np.uint32(Stamp.LATE_EVENT), np.uint32(0))
    if missing.any():
        stamps[missing] |= np.uint32(Stamp.DEGRADED_MODEL if has_model else Stamp.RULES_ONLY)
    if rows.degraded:
        stamps |= np.uint32(Stamp.DEGRADED_FEATURES)
    if program.executor.device_failed:
        stamps |= np.uint32(Stamp.DEGRADED_DEVICE)
    if in_error is not None:
        stamps[in_error] |= np.uint32(Stamp.DEGRADED_RULES)
    risk = 1.0 - (1.0 - np.where(missing, 0.0, result.probability)) * survival
    end = time.perf_counter_ns()
    return ScoredBatch(
        rows=rows,
        result=result,
        outcome=np.maximum(cost_outcome, demanded),
        cost_outcome=cost_outcome,
        risk=risk,
        stamps=stamps,
        features_us=(middle - start) // 1000,
        program_us=(end - middle) // 1000,
        stage_ns=(middle - start, ran - middle, end - ran),
        model_failed=failed,
    )


def _by_rules_alone(
    state: FeatureState, program: RiskProgram, batch: TransactionColumns, rows: FeatureRows, memberships: np.ndarray | None
) -> ProgramResult:
    try:
        return program.run(rows.x, memberships, TOP_CONTRIBUTIONS)
    except BaseException:
        state.take_back(batch, rows)
        raise


def _rule_demands(program: RiskProgram, result: ProgramResult) -> tuple[np.ndarray, np.ndarray | float, np.ndarray | None]:
    """Return the strictest outcome that a rule demands [n] uint8, the product of survivals over the hits [n], and which
    rows have a rule in error, bool [n], or None where there is none."""
    demands, outcomes = program.rule_demands, result.rule_outcomes
    # Of the codes, those of a hit and of an error are the odd ones: one look tells that there is neither.
    if not np.bitwise_and(outcomes, 1).any():
        return np.zeros(len(outcomes), np.uint8), 1.0, None
    hit, error = outcomes == RuleOutcome.HIT, outcomes == RuleOutcome.ERROR
    strictest = np.maximum(hit * demands.on_hit, error * demands.on_error).max(axis=1).astype(np.uint8)
    survival = np.where(hit, demands.survival, 1.0).prod(axis=1)
    return strictest, survival, error.any(axis=1)
