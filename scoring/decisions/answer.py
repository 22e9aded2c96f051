"""The answer to one transaction, as it is sent and stored."""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime

import msgspec
import numpy as np
from msgspec import Raw, Struct

from scoring.decisions.reasons import ModelReasons, Reason, rule_reason, strongest
from scoring.decisions.score_batch import ScoredBatch
from scoring.engine import Outcome, RiskProgram, RuleOutcome
from scoring.models import BACKFILL
from scoring.rules.live import ruleset_version
from scoring.transactions import Transaction

_OUTCOME_LABELS = [outcome.label for outcome in Outcome]
_HIT, _ERROR = int(RuleOutcome.HIT), int(RuleOutcome.ERROR)
_RULE_LABELS = [outcome.label for outcome in RuleOutcome]
_encoder = msgspec.json.Encoder()
_NO_PROBABILITY = Reason(
    code="policy.no_probability",
    source="policy",
    text="The model gave no probability, so the payment is not approved without a person",
    weight=0.01,
)


class DecisionAnswer(Struct, frozen=True, gc=False):
    """The body of a 200 answer; see the API documentation for the meaning of each field."""

    decision_id: str
    transaction_id: str
    status: str
    outcome: str
    score: int
    probability: float | None
    reasons: list[Reason]
    rules: Raw
    degraded: bool
    mode: str
    versions: Raw
    timing_us: dict[str, int]
    occurred_at: str
    received_at: str


class AnswerWriter:
    """Turns scored batches into answers; keeps what is the same for every answer of one program."""

    def __init__(self, program: RiskProgram) -> None:
        self.program = program
        policy = msgspec.json.encode(program.policy.to_json(), order="deterministic")
        self._versions = Raw(
            _encoder.encode(
                {
                    "program": program.version,
                    "ruleset": ruleset_version(program.rules),
                    "model": program.version if program.forest is not None else None,
                    "features": program.schema.version,
                    "policy": _short_digest(policy),
                }
            )
        )
        self._rule_reasons = [rule_reason(rule) for rule in program.rules]
        self._model_reasons = ModelReasons(program.schema)
        # Rule outcomes repeat: nearly all transactions hit nothing.
        self._rules_json: dict[bytes, Raw] = {}

    def answers(
        self,
        transactions: list[Transaction],
        decision_ids: list[str],
        received_at: list[datetime],
        scored: ScoredBatch,
        queue_us: list[int],
        backfill: list[bool],
    ) -> list[DecisionAnswer]:
        """Return one answer a transaction, in order."""
        result = scored.result
        positions, contributions = result.top_features, result.top_contributions
        values = np.take_along_axis(scored.rows.x, positions, axis=1).astype(float).tolist()
        positions, contributions = positions.tolist(), contributions.tolist()
        probabilities = result.probability.tolist()
        scores = np.rint(scored.risk * 1000).astype(int).tolist()
        late = scored.rows.late.tolist()
        outcomes = scored.outcome.tolist()
        answers = []
        for i, transaction in enumerate(transactions):
            rule_row = result.rule_outcomes[i]
            codes = rule_row.tobytes()
            hits = [self._rule_reasons[r] for r, code in enumerate(codes) if code == _HIT] if _HIT in codes else []
            if math.isnan(probabilities[i]):
                hits = [*hits, _NO_PROBABILITY]
            mode = self._mode(probabilities[i], codes, late[i], backfill[i])
            answers.append(
                DecisionAnswer(
                    decision_id=decision_ids[i],
                    transaction_id=transaction.transaction_id,
                    status="new",
                    outcome=_OUTCOME_LABELS[outcomes[i]],
                    score=scores[i],
                    probability=None if math.isnan(probabilities[i]) else round(probabilities[i], 6),
                    reasons=strongest(hits, self._model_reasons.of(positions[i], contributions[i], values[i])),
                    rules=self._rules(codes),
                    degraded=mode not in ("normal", BACKFILL),
                    mode=mode,
                    versions=self._versions,
                    timing_us={"queue": queue_us[i], "features": scored.features_us, "program": scored.program_us},
                    occurred_at=rfc3339(transaction.occurred_at),
                    received_at=rfc3339(received_at[i]),
                )
            )
        return answers

    def _mode(self, probability: float, codes: bytes, late: bool, backfill: bool) -> str:
        if self.program.forest is None:
            return BACKFILL if backfill else "rules_only"
        if math.isnan(probability):
            return "model_failed"
        if _ERROR in codes:
            return "rule_error"
        return "late_event" if late else "normal"

    def _rules(self, codes: bytes) -> Raw:
        found = self._rules_json.get(codes)
        if found is None:
            rules = [
                {"rule_id": rule.rule_id, "outcome": _RULE_LABELS[code]}
                for rule, code in zip(self.program.rules, codes, strict=True)
            ]
            found = Raw(_encoder.encode(rules))
            if len(self._rules_json) < 10_000:
                self._rules_json[codes] = found
        return found


def encode_answer(answer: DecisionAnswer) -> bytes:
    """Return the answer's JSON."""
    return _encoder.encode(answer)


def rfc3339(moment: datetime) -> str:
    """Return the instant in UTC, with microseconds and Z."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def _short_digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
