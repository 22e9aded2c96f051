"""The table of rules: each truth becomes steps over one accumulator and registers."""

from __future__ import annotations

from inference_core.compiler.draft import CutPlan
from inference_core.compiler.ir import AllOf, Always, Compare, InList, IsMissing, Not, ProgramIR
from inference_core.compiler.ranges import Range, range_of
from inference_core.compiler.tables.formulas import BinTest, Fixed, Formula, Group, Shared, bins_between, group, negation
from inference_core.compiler.tables.rule_steps import OPERANDS, StepWriter
from inference_core.errors import ProgramError, RuleError
from kernels.tables import MISSING, NEVER, RuleTable


def rule_table(ir: ProgramIR, cuts: CutPlan) -> RuleTable:
    """Return the program of all rules.

    Raises:
        RuleError: a rule reads a bin column beyond those that a step can name.
        ProgramError: the rules together need more registers than a step can name.
    """
    writer = _RuleWriter(ir, cuts)
    outcomes: list[list[int]] = [[], [], []]
    for rule in ir.rules:
        try:
            for of, truth in zip(outcomes, (rule.hit, rule.insufficient, rule.error), strict=True):
                of.append(writer.output(truth))
        except OverflowError as error:
            raise RuleError(f"rule {rule.rule_id}: {error}") from None
    steps, registers, place = writer.steps.finished({register for of in outcomes for register in of if register != NEVER})
    if registers > OPERANDS:
        raise ProgramError(
            f"{len(ir.rules)} rules need {registers} registers, and a program has {OPERANDS}: spread them over several programs"
        )
    return RuleTable(
        steps, registers, *([place.get(register, NEVER) for register in of] for of in outcomes), columns=cuts.columns + ir.lists
    )


class _RuleWriter:
    def __init__(self, ir: ProgramIR, cuts: CutPlan) -> None:
        self._ir, self._cuts = ir, cuts
        self.steps = StepWriter()
        self._formulas: dict[int, Formula] = {}
        self._outputs: dict[Formula, int] = {}

    def output(self, truth: int) -> int:
        """Return the register that will hold the truth, or NEVER."""
        formula = self._formula(truth)
        if isinstance(formula, Fixed) and not formula.value:
            return NEVER
        if isinstance(formula, Shared) and not formula.negated:
            return self.steps.kept(formula.key)
        if formula not in self._outputs:
            self._outputs[formula] = self.steps.computed(formula)
        return self._outputs[formula]

    def _formula(self, truth: int) -> Formula:
        """Return the formula of a truth; one that is worth a register is named and computed when it is first needed."""
        if truth not in self._formulas:
            formula = self._translated(truth)
            if truth in self._ir.stored and isinstance(formula, Group):
                self.steps.define(truth, formula)
                formula = Shared(truth, negated=False)
            self._formulas[truth] = formula
        return self._formulas[truth]

    def _translated(self, truth: int) -> Formula:
        node = self._ir.truths[truth]
        if isinstance(node, Always):
            return Fixed(node.value)
        if isinstance(node, InList):
            return BinTest(self._cuts.columns + node.position, bins_between(1, 2))
        if isinstance(node, Compare | IsMissing):
            return self._in_bins(range_of(self._ir, node))
        if isinstance(node, Not):
            return negation(self._formula(node.a))
        return group(isinstance(node, AllOf), [self._formula(arg) for arg in node.args])

    def _in_bins(self, of: Range) -> Formula:
        """`low <= value` is a bin above the cut at low, `value < high` one up to the cut at high; missing is neither."""
        cuts = self._cuts.of_number(self._ir, of.number)
        tests: list[Formula] = []
        if of.low is not None:
            column, at = cuts.place(of.low)
            tests.append(BinTest(int(column), bins_between(int(at) + 1, MISSING)))
        if of.high is not None:
            column, at = cuts.place(of.high)
            tests.append(BinTest(int(column), bins_between(0, int(at) + 1)))
        within = group(True, tests or [BinTest(cuts.first_column, bins_between(0, MISSING))])
        return negation(within) if of.negated else within
