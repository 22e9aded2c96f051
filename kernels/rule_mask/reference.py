"""The rule program, one step at a time on whole columns."""

from __future__ import annotations

import numpy as np

from kernels.tables import Combine, RuleBits, RuleTable, Source


def rule_mask(table: RuleTable, bins: np.ndarray) -> RuleBits:
    """Return the rules' bits; see the package for the contract."""
    rows = bins.shape[1]
    registers = np.zeros((table.registers, rows), bool)
    accumulator = np.zeros(rows, bool)
    for step in table.steps:
        operand = _operand(step, bins, registers) ^ bool(step["negate"])
        if step["op"] == Combine.SET:
            accumulator = operand
        else:
            accumulator = accumulator & operand if step["op"] == Combine.AND else accumulator | operand
        if step["store"] >= 0:
            registers[step["store"]] = accumulator
    return RuleBits(*(_pack(registers, of, table.words) for of in (table.hit, table.insufficient, table.error)))


def _operand(step: np.void, bins: np.ndarray, registers: np.ndarray) -> np.ndarray:
    if step["source"] == Source.PREDICATE:
        return bins[step["operand"]] - step["low"] < step["width"]  # uint8: the difference wraps
    return registers[step["operand"]] if step["source"] == Source.REGISTER else np.ones(bins.shape[1], bool)


def _pack(registers: np.ndarray, of: np.ndarray, words: int) -> np.ndarray:
    packed = np.zeros((registers.shape[1], words), np.uint64)
    for rule, register in enumerate(of):
        if register >= 0:
            packed[:, rule // 64] |= registers[register].astype(np.uint64) << np.uint64(rule % 64)
    return packed
