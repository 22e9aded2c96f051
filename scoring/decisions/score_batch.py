"""The one function that scores: a payment, a batch, a backfill and a benchmark all pass through here."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from scoring.decisions.reasons import MAX_REASONS
from scoring.engine import Outcome, ProgramResult, RiskProgram, RuleOutcome
from scoring.features.columns import TransactionColumns
from scoring.features.state import FeatureRows, FeatureState


@dataclass(frozen=True)
class ScoredBatch:
    """What is known of n transactions before anything is stored.

    Attributes:
        rows: features, entities and lateness.
        result: what the program said.
        outcome: [n] uint8 Outcome codes, the strictest of what the costs and the rules demand.
        cost_outcome: [n] uint8, what the costs alone demand.
        risk: [n] float64 probability with the rules' weights joined in; the score is 1000 times this.
        features_us, program_us: time for the whole batch, microseconds.
    """

    rows: FeatureRows
    result: ProgramResult
    outcome: np.ndarray
    cost_outcome: np.ndarray
    risk: np.ndarray
    features_us: int
    program_us: int


def score_batch(
    state: FeatureState, program: RiskProgram, batch: TransactionColumns, memberships: np.ndarray | None = None
) -> ScoredBatch:
    """Answer transactions as if they came one by one in this order; the state absorbs those with `insert` set.

    Args:
        memberships: bool [n, L], which lists each transaction is on; None for none.
    """
    start = time.perf_counter_ns()
    rows = state.process(batch)
    middle = time.perf_counter_ns()
    try:
        result = program.run(rows.x, memberships, MAX_REASONS)
    except BaseException:
        state.take_back(batch, rows)  # what got no answer must not be remembered
        raise
    demanded, survival = _rule_demands(program, result.rule_outcomes)
    cost_outcome = program.policy.outcomes(result.probability, batch.amount_minor)
    risk = 1.0 - (1.0 - np.nan_to_num(result.probability, nan=0.0)) * survival
    end = time.perf_counter_ns()
    return ScoredBatch(
        rows=rows,
        result=result,
        outcome=np.maximum(cost_outcome, demanded),
        cost_outcome=cost_outcome,
        risk=risk,
        features_us=(middle - start) // 1000,
        program_us=(end - middle) // 1000,
    )


def _rule_demands(program: RiskProgram, outcomes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the strictest outcome that a rule demands [n] uint8, and the product of (1 - weight) over the hits [n].

    A rule in error demands a review at least when it could have stopped the payment: an error must not approve.
    """
    if not program.rules:
        return np.zeros(len(outcomes), np.uint8), np.ones(len(outcomes))
    demands = np.array([rule.outcome for rule in program.rules], np.uint8)
    on_error = np.where(demands >= Outcome.HOLD, np.uint8(Outcome.REVIEW), np.uint8(Outcome.APPROVE))
    hit = outcomes == RuleOutcome.HIT
    strictest = np.maximum(hit * demands, (outcomes == RuleOutcome.ERROR) * on_error).max(axis=1)
    weights = np.array([rule.weight for rule in program.rules])
    return strictest.astype(np.uint8), np.where(hit, 1.0 - weights, 1.0).prod(axis=1)
