"""Rule programs in Triton. A block of rows runs the program step by step; a single row runs its segments side by side
(see RulePlan in kernels.gpu_layouts). Registers lie in memory: Triton has none that a step could name.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from kernels.gpu import DeviceRules, check_bins, choose_variant

_ROWS = 256


@dataclass(frozen=True)
class DeviceRuleBits:
    """Bit r % 64 of word r // 64 says it of rule r; each tensor [B, W] int64, the bits of a uint64."""

    hit: torch.Tensor
    insufficient: torch.Tensor
    error: torch.Tensor


def rule_mask(rules: DeviceRules, bins: torch.Tensor, variant: str = "auto") -> DeviceRuleBits:
    """Return hit, insufficient and error of bins [at least rules.table.columns, B] uint8.

    The same bits as kernels.rule_mask.reference; variant: see kernels.gpu.VARIANTS.

    Raises:
        KernelInputError: bins does not fit, or there is no such variant.
    """
    check_bins(bins, rules.table.columns, rules.steps.device)
    rows, words = bins.shape[1], rules.table.words
    out = [torch.empty((rows, words), dtype=torch.int64, device=bins.device) for _ in range(3)]
    registers = max(rules.table.registers, rules.plan.slots)
    scratch = torch.empty((registers, rows), dtype=torch.uint8, device=bins.device)
    by_segment = choose_variant(variant, rows) == "tree_parallel"
    if rows and words:
        _kernel[(rows if by_segment else triton.cdiv(rows, _ROWS),)](
            *rule_arguments(rules), bins, scratch, *out, rows, BY_SEGMENT=by_segment, ROWS=1 if by_segment else _ROWS,
            PREDICATES=block_of(len(rules.plan.predicates)), SEGMENTS=block_of(len(rules.plan.segments)),
        )  # fmt: skip
    return DeviceRuleBits(*out)


def rule_arguments(rules: DeviceRules) -> tuple:
    """Return what every kernel that runs rules takes first."""
    plan, table = rules.plan, rules.table
    return (
        rules.steps, rules.outputs, rules.plan_predicates, rules.plan_steps, rules.plan_segments, rules.plan_levels,
        rules.plan_outputs, len(table.steps), len(plan.predicates), len(plan.levels) - 1, table.rules, table.words,
    )  # fmt: skip


def block_of(count: int) -> int:
    """Return how many predicates or segments a program takes at a time."""
    return min(256, triton.next_power_of_2(max(count, 1)))


@triton.jit
def _kernel(steps, outputs, predicates, plan_steps, segments, levels, plan_outputs, N, P, LEVELS, R, W, bins, scratch, hit,
            insufficient, error, B, BY_SEGMENT: tl.constexpr, ROWS: tl.constexpr, PREDICATES: tl.constexpr,
            SEGMENTS: tl.constexpr):  # fmt: skip
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    mask = rows < B
    rules_of(steps, outputs, predicates, plan_steps, segments, levels, plan_outputs, N, P, LEVELS, R, W, bins, scratch, hit,
             insufficient, error, B, rows, mask, BY_SEGMENT, PREDICATES, SEGMENTS)  # fmt: skip


@triton.jit
def rules_of(steps, outputs, predicates, plan_steps, segments, levels, plan_outputs, N, P, LEVELS, R, W, bins, scratch, hit,
             insufficient, error, B, rows, mask, BY_SEGMENT: tl.constexpr, PREDICATES: tl.constexpr,
             SEGMENTS: tl.constexpr):  # fmt: skip
    """Write the words of a block of rows; BY_SEGMENT takes one row, that of the program."""
    if BY_SEGMENT:
        row = tl.program_id(0).to(tl.int64)
        _test_predicates(predicates, P, bins, scratch, B, row, PREDICATES)
        for level in range(LEVELS):
            _run_level(plan_steps, segments, tl.load(levels + level), tl.load(levels + level + 1), scratch, B, row, SEGMENTS)
        _pack_row(plan_outputs, R, W, scratch, hit, insufficient, error, B, row)
    else:
        _run_steps(steps, N, bins, scratch, B, rows, mask)
        for w in range(W):
            _pack_rows(outputs, R, w, scratch, hit + rows * W + w, B, rows, mask)
            _pack_rows(outputs + R, R, w, scratch, insufficient + rows * W + w, B, rows, mask)
            _pack_rows(outputs + 2 * R, R, w, scratch, error + rows * W + w, B, rows, mask)


@triton.jit
def _run_steps(steps, N, bins, registers, B, rows, mask):
    accumulator = tl.zeros_like(rows).to(tl.int32)
    for i in range(N):
        word = tl.load(steps + 3 * i)
        operand, store = tl.load(steps + 3 * i + 1).to(tl.int64), tl.load(steps + 3 * i + 2).to(tl.int64)
        op, source = word & 3, (word >> 2) & 3
        byte = tl.load(bins + operand * B + rows, mask=mask & (source == 0), other=0).to(tl.int32)
        tested = (((byte - ((word >> 8) & 255)) & 255) < ((word >> 16) & 255)).to(tl.int32)
        stored = tl.load(registers + operand * B + rows, mask=mask & (source == 1), other=1).to(tl.int32)
        value = tl.where(source == 0, tested, stored) ^ ((word >> 4) & 1)
        accumulator = tl.where(op == 0, value, tl.where(op == 1, accumulator & value, accumulator | value))
        if store >= 0:
            tl.debug_barrier()  # readers of the old value are done
            tl.store(registers + store * B + rows, accumulator.to(tl.uint8), mask=mask)
            tl.debug_barrier()  # readers of the new one may come


@triton.jit
def _pack_rows(outputs, R, w, registers, out, B, rows, mask):
    bits = tl.zeros_like(rows)
    for j in range(64):
        rule = w * 64 + j
        register = tl.load(outputs + rule, mask=rule < R, other=-1).to(tl.int64)
        bits |= tl.load(registers + register * B + rows, mask=mask & (register >= 0), other=0).to(tl.int64) << j
    tl.store(out, bits, mask=mask)


@triton.jit
def _test_predicates(predicates, P, bins, slots, B, row, PREDICATES: tl.constexpr):
    tl.store(slots + row, 0)
    for start in range(0, P, PREDICATES):
        p = start + tl.arange(0, PREDICATES)
        here = p < P
        interval = tl.load(predicates + 2 * p + 1, mask=here, other=0)
        column = tl.load(predicates + 2 * p, mask=here, other=0).to(tl.int64)
        byte = tl.load(bins + column * B + row, mask=here, other=0).to(tl.int32)
        true = ((byte - (interval & 255)) & 255) < (interval >> 8)
        tl.store(slots + (p + 1).to(tl.int64) * B + row, true.to(tl.uint8), mask=here)
    tl.debug_barrier()


@triton.jit
def _run_level(steps, segments, first, last, slots, B, row, SEGMENTS: tl.constexpr):
    for start in range(first, last, SEGMENTS):
        g = start + tl.arange(0, SEGMENTS)
        at = tl.load(segments + 2 * g, mask=g < last, other=0)
        count = tl.load(segments + 2 * g + 1, mask=g < last, other=0)
        accumulator = tl.zeros([SEGMENTS], tl.int32)
        for i in range(tl.max(count)):
            here = i < count
            word = tl.load(steps + 2 * (at + i), mask=here, other=0)
            store = tl.load(steps + 2 * (at + i) + 1, mask=here, other=-1).to(tl.int64)
            source, negate, op = (word & 0xFFFFFF).to(tl.int64), (word >> 24) & 1, word >> 25
            value = tl.load(slots + source * B + row, mask=here, other=0).to(tl.int32) ^ negate
            accumulator = tl.where(op == 0, value, tl.where(op == 1, accumulator & value, accumulator | value))
            tl.store(slots + store * B + row, accumulator.to(tl.uint8), mask=here & (store >= 0))
            tl.debug_barrier()


@triton.jit
def _pack_row(outputs, R, W, slots, hit, insufficient, error, B, row):
    j = tl.arange(0, 64)
    for w in range(W):
        rule = w * 64 + j
        here = rule < R
        _pack_word(outputs + rule, here, slots, hit + row * W + w, B, row, j)
        _pack_word(outputs + R + rule, here, slots, insufficient + row * W + w, B, row, j)
        _pack_word(outputs + 2 * R + rule, here, slots, error + row * W + w, B, row, j)


@triton.jit
def _pack_word(outputs, here, slots, out, B, row, j):
    slot = tl.load(outputs, mask=here, other=0).to(tl.int64)
    bits = tl.load(slots + slot * B + row, mask=here, other=0).to(tl.int64) << j.to(tl.int64)
    tl.store(out, tl.sum(bits))
