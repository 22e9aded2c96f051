"""Exactly how a decision's margin came about, worked out on demand by the program that made it.

The answer itself carried path contributions, which cost next to nothing beside the score. What is told here are the
Shapley values (TreeSHAP): they cost about a millisecond, and are what a person should rely on who has to justify a
decision. Both add up to the margin from the same bias; they share it out among the features differently.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scoring.decisions.answer_form import NET_REASON
from scoring.decisions.released_programs import released_programs
from scoring.engine import ArtifactRefused, RiskProgram
from scoring.errors import AnswerUnreadable, DecisionNotFound, ExplanationUnavailable, NothingToExplain
from scoring.feature_rows import stored_row
from scoring.models import Decision, ProgramRelease
from scoring.selectors.answers import Reason, answer_of

# Margins are rounded to float32 when they are stored; programs before fixed-point leaves also summed in float32.
MARGIN_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class FeatureContribution:
    """What one feature's value did to the margin, in log-odds; above 0 it spoke for fraud.

    Attributes:
        value: None where it was unknown at the time.
        exact: the Shapley value.
        path: what the fast path made of it when it scored.
        is_reason: whether the answer named it among its reasons.
    """

    name: str
    text: str
    unit: str
    value: float | None
    exact: float
    path: float
    is_reason: bool


@dataclass(frozen=True, slots=True)
class DecisionExplanation:
    """Attributes:
    bias: the margin where nothing is known, in log-odds; bias + all `exact` is `margin`.
    decided_margin, decided_probability: as they were stored with the decision.
    reasons: the model's reasons in the answer that was sent.
    features: every feature of the program, and its net where it has one, the largest exact contribution first, whatever its sign.
    """

    decision_id: str
    program_version: str
    feature_schema: str
    bias: float
    margin: float
    decided_margin: float | None
    decided_probability: float | None
    reasons: tuple[Reason, ...]
    features: tuple[FeatureContribution, ...]

    @property
    def agrees(self) -> bool:
        """Whether the margin is the one that was decided on, up to MARGIN_TOLERANCE."""
        return self.decided_margin is not None and abs(self.margin - self.decided_margin) <= MARGIN_TOLERANCE


def explain_decision(decision_id: str) -> DecisionExplanation:
    """Return the exact explanation of a stored decision's margin. Reads an artifact, so do not call it in an event loop.

    Raises:
        DecisionNotFound: there is none of that id.
        NothingToExplain: rules alone decided.
        ExplanationUnavailable: the program or the feature row is not there any more, or they do not fit together.
    """
    # PostgreSQL cannot even be asked about a zero byte.
    decision = Decision.objects.filter(decision_id=decision_id).first() if decision_id.isprintable() else None
    if decision is None:
        raise DecisionNotFound("there is no decision of that id")
    try:
        answer, _ = answer_of(decision)
    except AnswerUnreadable as error:
        raise ExplanationUnavailable(str(error)) from None
    if answer.versions.get("model") is None:
        raise NothingToExplain(f"rules alone made this decision (mode {decision.mode}): there is no model's margin to explain")
    program = _program_of(decision)
    if program.forest is None:
        raise NothingToExplain(f"program {program.version} has no model: there is no margin to explain")
    reasons = tuple(reason for reason in answer.reasons if reason.source == "model")
    return _explained(decision, program, _row_of(decision, program), reasons)


def _program_of(decision: Decision) -> RiskProgram:
    version = decision.program_version
    release = ProgramRelease.objects.filter(version=version).first()
    if release is None:
        raise ExplanationUnavailable(f"program {version}, which made this decision, is not among the releases of this database")
    try:
        return released_programs.get(release)
    except ArtifactRefused as error:
        raise ExplanationUnavailable(
            f"program {version}, which made this decision, cannot be loaded: {error}. Restore its folder to have the explanation"
        ) from None


def _row_of(decision: Decision, program: RiskProgram) -> np.ndarray:
    """Return the feature row [F] float32 that was scored."""
    try:
        row = stored_row(decision.features)
    except ValueError as error:
        raise ExplanationUnavailable(f"the feature row of this decision is not readable: {error}") from None
    if not row.size:
        raise ExplanationUnavailable("the feature row of this decision is not stored any more, so it cannot be explained")
    if decision.feature_schema != program.schema.version or row.size != program.schema.width:
        raise ExplanationUnavailable(
            f"the stored row has {row.size} values of feature schema {decision.feature_schema}, "
            f"program {program.version} reads {program.schema.width} of {program.schema.version}"
        )
    return row


def _explained(decision: Decision, program: RiskProgram, row: np.ndarray, reasons: tuple[Reason, ...]) -> DecisionExplanation:
    found = program.explain(row)
    named = {reason.feature for reason in reasons}
    columns, values = program.schema.columns, row.tolist()
    exact, path = found.contributions.tolist(), found.path_contributions.tolist()
    features = [
        FeatureContribution(
            name=columns[i].name,
            text=columns[i].text,
            unit=columns[i].unit,
            # NaN is unknown, and is the only value that differs from itself.
            value=values[i] if values[i] == values[i] else None,
            exact=exact[i],
            path=path[i],
            is_reason=columns[i].name in named,
        )
        for i in range(len(columns))
    ]
    if found.net is not None:  # as one: what it owes to which feature is not worked out
        name = NET_REASON["name"]
        features.append(FeatureContribution(name, NET_REASON["text"], "", None, found.net, found.net, name in named))
    return DecisionExplanation(
        decision_id=decision.decision_id,
        program_version=program.version,
        feature_schema=program.schema.version,
        bias=found.bias,
        margin=found.margin,
        decided_margin=decision.margin,
        decided_probability=decision.probability,
        reasons=reasons,
        features=tuple(sorted(features, key=lambda of: -abs(of.exact))),
    )
