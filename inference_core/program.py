"""The unit that is built, signed, released and run: rules and forest over one feature row."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from inference_core.calibration import Calibration
from inference_core.errors import ProgramError, SchemaMismatch
from inference_core.forest import Forest
from inference_core.policy import CostPolicy
from inference_core.rules import CompiledRules, Rule
from inference_core.schema import FeatureSchema
from kernels.top_values import top_values


@dataclass(frozen=True)
class ProgramResult:
    """What a program says of B rows.

    Attributes:
        rule_outcomes: [B, R] uint8 RuleOutcome codes.
        margin: [B] float32 log-odds of the forest.
        probability: [B] float64 calibrated fraud probability; NaN where there is no forest.
        contributions: [B, F] float32 share of each feature in the margin; zeros where there is no forest.
    """

    rule_outcomes: np.ndarray
    margin: np.ndarray
    probability: np.ndarray
    contributions: np.ndarray

    def top_contributions(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (feature positions [B, k] int32, contributions [B, k] float32), largest first."""
        return top_values(self.contributions, k)


@dataclass(frozen=True)
class RiskProgram:
    """{schema, rules, forest, calibration, thresholds}; immutable, and safe to share between threads.

    Attributes:
        schema: the columns of a row.
        rules: evaluated in this order.
        list_names: the order of the columns of `memberships`.
        forest: None for a program of rules alone.
        calibration: from margin to probability.
        policy: costs, from which the thresholds follow.
        version: names this program in every decision.

    Raises:
        ProgramError, RuleError: the parts do not fit together; the message names the part.
    """

    schema: FeatureSchema
    rules: tuple[Rule, ...]
    list_names: tuple[str, ...]
    forest: Forest | None
    calibration: Calibration
    policy: CostPolicy
    version: str
    _compiled: CompiledRules = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.version:
            raise ProgramError("a program needs a version")
        identifiers = [rule.rule_id for rule in self.rules]
        if len(set(identifiers)) != len(identifiers):
            raise ProgramError("each rule_id may occur once in a program")
        if self.forest is not None and self.forest.feature_names != self.schema.names:
            raise SchemaMismatch("the forest was trained on other features than the schema declares")
        object.__setattr__(self, "_compiled", CompiledRules(self.rules, self.schema, self.list_names))

    def run(self, x: np.ndarray, memberships: np.ndarray | None = None) -> ProgramResult:
        """Evaluate rules and forest on rows x [B, F] float32 and list memberships [B, L] bool (None: in no list).

        Raises:
            SchemaMismatch: the shapes or dtypes do not fit.
        """
        if x.ndim != 2 or x.shape[1] != self.schema.width or x.dtype != np.float32:
            raise SchemaMismatch(f"x must be float32 [B, {self.schema.width}]; got {x.dtype} {x.shape}")
        if memberships is None:
            memberships = np.zeros((len(x), len(self.list_names)), bool)
        if memberships.shape != (len(x), len(self.list_names)):
            raise SchemaMismatch(f"memberships must be bool [{len(x)}, {len(self.list_names)}]; got {memberships.shape}")
        rule_outcomes = self._compiled.evaluate(x, memberships)
        if self.forest is None:
            missing = np.full(len(x), np.nan)
            return ProgramResult(rule_outcomes, missing.astype(np.float32), missing, np.zeros(x.shape, np.float32))
        margin, contributions = self.forest.margins_and_contributions(x)
        return ProgramResult(rule_outcomes, margin, self.calibration.probability(margin), contributions)
