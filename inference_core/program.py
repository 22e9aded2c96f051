"""The unit that is built, signed, released and run: rules, forest and net over one feature row."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from inference_core.calibration import Calibration
from inference_core.compiler import Plan, compile_program
from inference_core.compiler.ir import NetPart, Tree
from inference_core.errors import ProgramError, SchemaMismatch
from inference_core.explanation import Explanation, explain_row
from inference_core.forest import Forest
from inference_core.net import Blend, QuantisedNet
from inference_core.outcomes import Outcome
from inference_core.policy import CostPolicy
from inference_core.rules import Rule
from inference_core.runtime import Device, Ladder, default_executor
from inference_core.schema import FeatureSchema
from kernels.decide_rows import DecidedRows, DecideTable, RowFlags, decide_rows
from kernels.score_rows import ScoredRows
from kernels.tables import RuleBits
from kernels.tree_shap import ShapTable

DEFAULT_TOP = 4
"""Contributions told of each row, unless the caller wants another number."""
_SAVING_ROWS, _SAVING_ROUNDS = 64, 20


@dataclass(frozen=True)
class ProgramResult:
    """What a program says of B rows.

    Attributes:
        scored: what the executor said.
        calibration: makes the probabilities.
        rules: R, number of rules.
    """

    scored: ScoredRows
    calibration: Calibration
    rules: int

    @cached_property
    def probability(self) -> np.ndarray:
        """[B] float64 calibrated fraud probability; NaN where there is no forest."""
        return self.calibration.probability(self.scored.margin)

    @property
    def margin(self) -> np.ndarray:
        """[B] float32 log-odds of the forest, blended with the net where there is one; NaN without a forest."""
        return self.scored.margin

    @property
    def bits(self) -> RuleBits:
        """The rules' outcomes, a bit a rule."""
        return self.scored.bits

    @property
    def top_features(self) -> np.ndarray:
        """[B, top] int32 columns of x with the largest contributions to the margin, largest first; F stands for the net."""
        return self.scored.top_features

    @property
    def top_contributions(self) -> np.ndarray:
        """[B, top] float32 contributions of top_features; zeros where there is no forest."""
        return self.scored.top_contributions

    @cached_property
    def rule_outcomes(self) -> np.ndarray:
        """[B, R] uint8 RuleOutcome codes."""
        return self.bits.codes(self.rules)


@dataclass(frozen=True)
class RiskProgram:
    """{schema, rules, forest, net, calibration, thresholds}; immutable, and safe to share between threads.

    Attributes:
        schema: the columns of a row.
        rules: evaluated in this order.
        list_names: the order of the columns of `memberships`.
        forest: None for a program of rules alone.
        calibration: from margin to probability.
        policy: costs, from which the thresholds follow.
        version: names this program in every decision.
        net: stands beside the forest, over features of the schema; None for a program without one.
        blend: how the two become one margin; given with a net.
        devices: what it runs on; the CPU alone where none are named.
        executor: runs the plan's tables.
        reduced_executor: runs those of the plan without the net; None where there is no net.

    Raises:
        ProgramError, RuleError: the parts do not fit together or cannot be compiled; the message names the part.
    """

    schema: FeatureSchema
    rules: tuple[Rule, ...]
    list_names: tuple[str, ...]
    forest: Forest | None
    calibration: Calibration
    policy: CostPolicy
    version: str
    net: QuantisedNet | None = None
    blend: Blend | None = None
    devices: tuple[Device, ...] = field(default=(), repr=False, compare=False)
    plan: Plan = field(init=False, repr=False, compare=False)
    decide_table: DecideTable = field(init=False, repr=False, compare=False)
    executor: Ladder = field(init=False, repr=False, compare=False)
    reduced_executor: Ladder | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.version:
            raise ProgramError("a program needs a version")
        identifiers = [rule.rule_id for rule in self.rules]
        if len(set(identifiers)) != len(identifiers):
            raise ProgramError("each rule_id may occur once in a program")
        if self.forest is not None and self.forest.feature_names != self.schema.names:
            raise SchemaMismatch("the forest was trained on other features than the schema declares")
        self._check_net()
        object.__setattr__(self, "plan", self._compiled())
        object.__setattr__(self, "decide_table", self._decide_table())
        object.__setattr__(self, "executor", default_executor(self.plan.tables, self.devices))
        reduced = None if self.plan.reduced is None else default_executor(self.plan.reduced.tables, self.devices)
        object.__setattr__(self, "reduced_executor", reduced)

    def _check_net(self) -> None:
        if (self.net is None) != (self.blend is None):
            raise ProgramError("a net and a blend come together: the blend says what the net weighs")
        if self.net is None:
            return
        if self.forest is None:
            raise ProgramError("a net stands beside a forest: without one the program cannot run reduced")
        if missing := sorted(set(self.net.feature_names) - set(self.schema.names)):
            raise SchemaMismatch(f"the net reads features that the schema does not declare: {', '.join(missing[:5])}")

    def _compiled(self) -> Plan:
        if self.forest is None:
            return compile_program(self.schema, self.rules, self.list_names, None)
        if self.net is None or self.blend is None:
            return self._plan_of(1.0, self.forest.base, None)
        blend, net = self.blend, self.net
        part = NetPart(net, tuple(self.schema.index(name) for name in net.feature_names), blend.net_weight)
        base = blend.forest_weight * self.forest.base + blend.net_weight * net.base + blend.offset
        whole = self._plan_of(blend.forest_weight, base, part)
        alone = blend.reduced_weight
        return replace(whole, reduced=self._plan_of(alone, alone * self.forest.base + blend.offset, None))

    def _plan_of(self, weight: float, base: float, part: NetPart | None) -> Plan:
        assert self.forest is not None
        return compile_program(self.schema, self.rules, self.list_names, _weighted(self.forest.trees, weight), base, part)

    @property
    def has_reduced(self) -> bool:
        """Whether the program can also run without its net."""
        return self.reduced_executor is not None

    def measure_saving(self) -> float:
        """Return the microseconds a row that leaving out the net saves on this host, in batches; 0 without a net.

        Takes some ten milliseconds.
        """
        if not self.has_reduced:
            return 0.0
        x = np.zeros((_SAVING_ROWS, self.schema.width), np.float32)
        lists = np.zeros((len(x), len(self.list_names)), bool) if self.list_names else None
        best = [float("inf")] * 2
        for _ in range(_SAVING_ROUNDS):
            for reduced in (0, 1):
                start = time.perf_counter()
                self.score(x, lists, reduced=bool(reduced))
                best[reduced] = min(best[reduced], time.perf_counter() - start)
        return max(best[0] - best[1], 0.0) * 1e6 / len(x)

    def run(self, x: np.ndarray, memberships: np.ndarray | None = None, top: int = DEFAULT_TOP) -> ProgramResult:
        """Evaluate rules, forest and net on rows x [B, F] float32 and list memberships [B, L] bool (None: in no list).

        Args:
            top: contributions wanted of each row; a schema of fewer features gives as many as it has.

        Raises:
            SchemaMismatch: the shapes or dtypes do not fit.
        """
        return ProgramResult(self.score(x, memberships, top), self.calibration, len(self.rules))

    def score(
        self, x: np.ndarray, memberships: np.ndarray | None = None, top: int = DEFAULT_TOP, *, reduced: bool = False
    ) -> ScoredRows:
        """Do what `run` does, and leave the scores as the executor gives them.

        Args:
            reduced: without the net (see Blend), which takes less time.

        Raises:
            ProgramError: there is no reduced program.
        """
        executor = self.reduced_executor if reduced else self.executor
        if executor is None:
            raise ProgramError(f"program {self.version} has no net, and so no reduced program")
        if x.ndim != 2 or x.shape[1] != self.schema.width or x.dtype != np.float32:
            raise SchemaMismatch(f"x must be float32 [B, {self.schema.width}]; got {x.dtype} {x.shape}")
        if memberships is not None:
            expected = (len(x), len(self.list_names))
            if memberships.shape != expected or memberships.dtype != np.bool_:
                raise SchemaMismatch(f"memberships must be bool {list(expected)}; got {memberships.dtype} {memberships.shape}")
        return executor.run(x, memberships, min(top, self.schema.width))

    def decide(
        self,
        scored: ScoredRows,
        x: np.ndarray,
        amount_minor: np.ndarray,
        late: np.ndarray,
        flags: RowFlags,
        offline_limit_minor: int = 0,
    ) -> DecidedRows:
        """Return what follows from the scores of rows x: probability, outcome, risk and stamps; see kernels.decide_rows.

        Args:
            offline_limit_minor: up to this amount a row that should have a probability, and has none, is approved.

        Raises:
            KernelInputError: a shape or type does not fit.
        """
        return decide_rows(self.decide_table, scored, x, amount_minor, late, flags, offline_limit_minor)

    def _decide_table(self) -> DecideTable:
        # A rule in error demands a review at least where it could have stopped the payment: an error must not approve.
        on_hit = np.array([rule.outcome for rule in self.rules], np.uint8)
        on_error = np.where(on_hit >= Outcome.HOLD, np.uint8(Outcome.REVIEW), np.uint8(Outcome.APPROVE))
        survival = np.array([1.0 - rule.weight for rule in self.rules], np.float64)
        slope, intercept = self.calibration.slope, self.calibration.intercept
        return DecideTable(slope, intercept, self.policy.costs, on_hit, on_error, survival, self.forest is not None)

    @cached_property
    def _shap(self) -> ShapTable | None:
        """What exact explanations read, made when the first is asked for: decisions do not need it."""
        trees = self.plan.tables.trees
        return None if trees is None else ShapTable(trees, self.plan.cover)

    def explain(self, x: np.ndarray) -> Explanation:
        """Return exactly how the margin of one row x [F] float32 comes about; about a millisecond, for a person to read.

        Raises:
            SchemaMismatch: the shape or dtype does not fit.
            ProgramError: the program has no forest, and so no margin.
        """
        if x.shape != (self.schema.width,) or x.dtype != np.float32:
            raise SchemaMismatch(f"x must be one row, float32 [{self.schema.width}]; got {x.dtype} {list(x.shape)}")
        if self._shap is None:
            raise ProgramError(f"program {self.version} has no forest: there is no margin to explain")
        return explain_row(self.plan.tables.cuts, self._shap, x, self.plan.tables.net)


def _weighted(trees: tuple[Tree, ...], weight: float) -> tuple[Tree, ...]:
    return trees if weight == 1.0 else tuple(replace(tree, value=tree.value * weight) for tree in trees)
