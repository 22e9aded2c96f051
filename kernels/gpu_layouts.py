"""How cuts, trees and rules are laid out for GPU kernels: NumPy in, NumPy out, no GPU needed."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from kernels.tables import NEVER, Combine, RuleTable, Source, TreeTable

MAX_COMPLETE_DEPTH = 8
MAX_COMPLETE_COLUMNS = 2048  # 11 bits of a packed node
_RANK_OF_A_LEAF = 256  # more than any bin: a leaf always goes "left", to itself


@dataclass(frozen=True)
class CompleteTrees:
    """Every tree as a complete binary tree in heap order, all of one depth.

    Attributes:
        nodes: [T, 2**depth - 1] int32: rank | shift << 8 | column << 9 | feature << 20.
        values: [T, 2**(depth + 1) - 1] int32. Below a leaf the leaf is repeated, so that nothing changes on the way.
        depth: steps from root to leaf.
    """

    nodes: np.ndarray
    values: np.ndarray
    depth: int


def complete_trees(trees: TreeTable) -> CompleteTrees | None:
    """Return the complete layout, or None where a tree is too deep or the row too wide for it."""
    depth = int(trees.depth.max(initial=0))
    if depth > MAX_COMPLETE_DEPTH or max(trees.columns, trees.features) > MAX_COMPLETE_COLUMNS:
        return None
    nodes = np.zeros((len(trees.roots), 2**depth - 1), np.int32)
    values = np.zeros((len(trees.roots), 2 ** (depth + 1) - 1), np.int32)
    at = trees.roots[:, None]
    for level in range(depth + 1):
        first, count = 2**level - 1, 2**level
        values[:, first : first + count] = trees.value[at]
        if level < depth:
            inner = trees.column[at] >= 0
            word = trees.rank[at] | trees.shift[at].astype(np.int32) << 8 | trees.column[at] << 9 | trees.feature[at] << 20
            nodes[:, first : first + count] = np.where(inner, word, 0)
            left = trees.left[at]
            at = np.stack([left, left + inner], axis=2).reshape(len(at), 2 * count)
    return CompleteTrees(nodes, values, depth)


def sparse_nodes(trees: TreeTable) -> np.ndarray:
    """Return [N, 2] int32: rank (9 bits) | shift << 9 | column << 10, and the left child."""
    inner = trees.column >= 0
    rank = np.where(inner, trees.rank.astype(np.int32), _RANK_OF_A_LEAF)
    word = rank | trees.shift.astype(np.int32) << 9 | np.maximum(trees.column, 0) << 10
    return np.ascontiguousarray(np.stack([word, trees.left], axis=1))


def contribution_bounds(trees: CompleteTrees, features: int) -> np.ndarray:
    """Return [T, F] int64: the most that a path of a tree changes a feature's fixed-point contribution, in size."""
    bounds = np.zeros((len(trees.nodes), features), np.int64)
    some = max(1, 2**22 // (features * 2**trees.depth))  # trees at a time: 32 MB
    for first in range(0, len(bounds), some):
        nodes, values = trees.nodes[first : first + some], trees.values[first : first + some].astype(np.int64)
        sums, tree = np.zeros((len(nodes), 1, features), np.int64), np.arange(len(nodes))[:, None]
        for level in range(trees.depth):
            start, count = 2**level - 1, 2**level
            below = np.arange(2 * start + 1, 2 * start + 1 + 2 * count)
            sums = np.repeat(sums, 2, axis=1)
            tested = nodes[:, (below - 1) // 2] >> 20
            sums[tree, np.arange(2 * count), tested] += values[:, below] - values[:, (below - 1) // 2]
        bounds[first : first + some] = abs(sums).max(axis=1)
    return bounds


@dataclass(frozen=True)
class RulePlan:
    """A rule program cut into segments that can run side by side, each truth in a slot of its own.

    Slot 0 is false for ever, slots 1 .. P hold the predicates, the others what the steps store, once each.

    Attributes:
        predicates: [P, 2] int32: bin column, and low | width << 8.
        steps: [I, 2] int32: source slot | negate << 24 | Combine << 25, and the slot to store to, or NEVER.
        segments: [G, 2] int32 first step and number of steps, ordered by level.
        levels: [L + 1] int32; the segments levels[i] .. levels[i + 1] read slots of earlier levels only.
        outputs: [3, R] int32 slot of hit, insufficient and error of each rule.
        slots: how many there are.
    """

    predicates: np.ndarray
    steps: np.ndarray
    segments: np.ndarray
    levels: np.ndarray
    outputs: np.ndarray
    slots: int


def rule_plan(table: RuleTable) -> RulePlan:
    """Return the program with equal predicates merged, registers renamed to slots and segments sorted by level."""
    predicates, plain = _merge_predicates(table)
    slot_of, level_of = np.zeros(table.registers, np.int64), {}
    slots, steps, segments = 1 + len(predicates), [], []
    for first, last in _segments(table):
        level, start = 0, len(steps)
        for step, predicate in zip(table.steps[first:last], plain[first:last], strict=True):
            source, negate = int(predicate), int(bool(step["negate"]))
            if step["source"] == Source.REGISTER:
                source = int(slot_of[step["operand"]])
                level = max(level, level_of.get(source, -1) + 1)
            elif step["source"] == Source.TRUE:
                source, negate = 0, 1 - negate
            store = NEVER
            if step["store"] >= 0:
                store, slots = slots, slots + 1
                slot_of[step["store"]] = store
            steps.append((source | negate << 24 | int(step["op"]) << 25, store))
        for _, store in steps[start:]:
            level_of[store] = level
        segments.append((level, len(steps) - start, start))
    segments.sort()
    levels = np.searchsorted([s[0] for s in segments], np.arange((segments[-1][0] if segments else -1) + 2))
    outputs = [np.where(of >= 0, slot_of[np.maximum(of, 0)] if table.registers else 0, 0)
               for of in (table.hit, table.insufficient, table.error)]  # fmt: skip
    return RulePlan(
        np.array(predicates, np.int32).reshape(-1, 2), np.array(steps, np.int32).reshape(-1, 2),
        np.array([(s[2], s[1]) for s in segments], np.int32).reshape(-1, 2), levels.astype(np.int32),
        np.array(outputs, np.int32).reshape(3, -1), slots,
    )  # fmt: skip


def reads_before_writes(table: RuleTable) -> np.ndarray:
    """Return which steps [I] read a register that no earlier step stored to."""
    steps = table.steps
    first_store = np.full(max(table.registers, 1), len(steps))
    stores = np.flatnonzero(steps["store"] >= 0)
    np.minimum.at(first_store, steps["store"][stores], stores)
    read = steps["source"] == Source.REGISTER
    return read & (first_store[np.where(read, steps["operand"], 0)] >= np.arange(len(steps)))


def _merge_predicates(table: RuleTable) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Return the different predicates, and the slot of each step's predicate (0 where it has none)."""
    found: dict[tuple[int, int], int] = {}
    slot = np.zeros(len(table.steps), np.int64)
    for i, step in enumerate(table.steps):
        if step["source"] == Source.PREDICATE:
            key = int(step["operand"]), int(step["low"]) | int(step["width"]) << 8
            slot[i] = found.setdefault(key, len(found) + 1)
    return list(found), slot


def _segments(table: RuleTable) -> list[tuple[int, int]]:
    """Return first and last + 1 of each run of steps that begins with SET: the accumulator crosses no border.

    The steps of a segment run one after the other, so that they also see what their own segment stored.
    """
    starts = np.flatnonzero(table.steps["op"] == Combine.SET)
    return list(itertools.pairwise([*starts.tolist(), len(table.steps)]))
