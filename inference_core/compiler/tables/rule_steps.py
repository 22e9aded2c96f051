"""Steps of the rule program, written with as many registers as one likes, which then share the real ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from inference_core.compiler.tables.formulas import BinTest, Fixed, Formula, Group, Stored, run_of
from kernels.tables import INSTRUCTION, Combine, Source

OPERANDS = 1 << 16
"""Bin columns or registers that a step can name."""


@dataclass(frozen=True, slots=True)
class Step:
    """One INSTRUCTION, before its registers are real."""

    op: Combine
    source: Source
    operand: int = 0
    negate: bool = False
    low: int = 0
    width: int = 0
    store: int = -1


class StepWriter:
    """Collects the steps that compute formulas."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._registers = 0

    def computed(self, formula: Formula) -> int:
        """Write the steps that compute a formula and return the register that keeps it.

        Raises:
            OverflowError: a step cannot name so many bin columns.
        """
        self._accumulate(formula)
        self._steps[-1] = replace(self._steps[-1], store=self._registers)
        self._registers += 1
        return self._registers - 1

    def _accumulate(self, formula: Formula) -> None:
        if not isinstance(formula, Group):
            self._step(Combine.SET, formula)
            return
        plain = [arg for arg in formula.args if not isinstance(arg, Group)]
        nested = [arg for arg in formula.args if isinstance(arg, Group)]
        # There is one accumulator: all nested groups but the last wait in registers.
        plain += [Stored(self.computed(arg), negated=False) for arg in nested[:-1]]
        if nested:
            self._accumulate(nested[-1])
        else:
            self._step(Combine.SET, plain.pop(0))
        for arg in plain:
            self._step(Combine.AND if formula.every else Combine.OR, arg)

    def _step(self, op: Combine, leaf: Fixed | BinTest | Stored) -> None:
        if isinstance(leaf, Fixed):
            self._steps.append(Step(op, Source.TRUE, negate=not leaf.value))
        elif isinstance(leaf, Stored):
            self._steps.append(Step(op, Source.REGISTER, leaf.register, negate=leaf.negated))
        else:
            if leaf.column >= OPERANDS:
                raise OverflowError(
                    f"it reads bin column {leaf.column}, and a step can name {OPERANDS}: use fewer features and lists"
                )
            low, width = run_of(leaf.bins)
            self._steps.append(Step(op, Source.PREDICATE, leaf.column, low=low, width=width))

    def finished(self, outputs: set[int]) -> tuple[np.ndarray, int, dict[int, int]]:
        """Return the INSTRUCTIONs, how many registers they use, and the real register of each output.

        A register is used again once its last reader is done; outputs are kept to the end, what nobody reads is not kept at all.
        """
        last_read = {step.operand: i for i, step in enumerate(self._steps) if step.source is Source.REGISTER}
        real: dict[int, int] = {}
        free: list[int] = []
        count = 0
        rows = []
        for i, step in enumerate(self._steps):
            operand = step.operand
            if step.source is Source.REGISTER:
                operand = real[step.operand]
                if last_read[step.operand] == i and step.operand not in outputs:
                    free.append(operand)  # read before this step stores
            if step.store in last_read or step.store in outputs:
                if not free:
                    free.append(count)
                    count += 1
                real[step.store] = free.pop()
            rows.append((step.op, step.source, step.negate, step.low, step.width, 0, operand, real.get(step.store, -1)))
        return np.array(rows, INSTRUCTION), count, {register: real[register] for register in outputs}
