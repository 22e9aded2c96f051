"""Steps of the rule program, written with as many registers as one likes, which then share the real ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from inference_core.compiler.tables.formulas import BinTest, Fixed, Formula, Group, Shared, Stored, run_of
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
        self._shared: dict[int, Group] = {}
        self._kept: dict[int, int] = {}

    def define(self, key: int, of: Group) -> None:
        """Say what Shared(key) stands for."""
        self._shared[key] = of

    def kept(self, key: int) -> int:
        """Return the register that keeps a shared formula, computed now if it was not yet."""
        if key not in self._kept:
            self._kept[key] = self.computed(self._shared[key])
        return self._kept[key]

    def computed(self, formula: Formula) -> int:
        """Write the steps that compute a formula and return the register that keeps it.

        Raises:
            OverflowError: a step cannot name so many bin columns.
        """
        self._accumulate(formula)
        return self._store()

    def _store(self) -> int:
        """Keep the accumulator in a new register."""
        self._steps[-1] = replace(self._steps[-1], store=self._registers)
        self._registers += 1
        return self._registers - 1

    def _accumulate(self, formula: Formula) -> None:
        if isinstance(formula, Group):
            self._accumulate_group(formula)
        else:
            self._step(Combine.SET, self._ready(formula))

    def _accumulate_group(self, of: Group) -> None:
        """There is one accumulator: of what must be computed first, one stays in it and the others wait in registers."""
        waiting = [arg for arg in of.args if self._must_be_computed(arg)]
        plain = [arg for arg in of.args if arg not in waiting]
        first = next((arg for arg in waiting if isinstance(arg, Shared) and not arg.negated), None)
        first = first or next((arg for arg in waiting if isinstance(arg, Group)), None)
        plain += [self._ready(arg) for arg in waiting if arg is not first]
        if first is None or not self._must_be_computed(first):  # another one may have needed it
            plain = [*plain, first] if first is not None else plain
            self._step(Combine.SET, self._ready(plain.pop(0)))
        elif isinstance(first, Group):
            self._accumulate_group(first)
        else:
            self._accumulate_group(self._shared[first.key])
            self._kept[first.key] = self._store()
        for arg in plain:
            self._step(Combine.AND if of.every else Combine.OR, self._ready(arg))

    def _must_be_computed(self, of: Formula) -> bool:
        return isinstance(of, Group) or (isinstance(of, Shared) and of.key not in self._kept)

    def _ready(self, of: Formula) -> Fixed | BinTest | Stored:
        """Return what one step can read, after the steps that it takes to get there."""
        if isinstance(of, Shared):
            return Stored(self.kept(of.key), of.negated)
        return Stored(self.computed(of), negated=False) if isinstance(of, Group) else of

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
