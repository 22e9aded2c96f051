"""The tables as the C kernels read them (kernels/cpu.h): built once for each table, and kept with it."""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np

from kernels.clauses import CLAUSE, clauses_of
from kernels.native import ScoreCall
from kernels.net_margin.table import NetTable
from kernels.tables import DERIVATION, INSTRUCTION, CutTable, RuleTable, TreeTable

BLOCK = 128
TILE_DEPTH = 6
_WIDE = BLOCK + 16
_NEVER_RIGHT = 256
_TOGETHER, _TOP_LEVELS = 16, 4

_POINTER, _LONG = ctypes.c_void_p, ctypes.c_int64


class _Cuts(ctypes.Structure):
    _fields_ = [
        ("features", _LONG), ("columns", _LONG), ("lists", _LONG), ("derived", _LONG), ("needed", _LONG),
        ("derivations", _POINTER), ("need", _POINTER), ("source", _POINTER), ("levels", _POINTER), ("start", _POINTER),
        ("table", _POINTER), ("row_levels", _POINTER), ("row_top", _POINTER), ("heap_start", _POINTER),
        ("heap", _POINTER),
    ]  # fmt: skip


class _Rules(ctypes.Structure):
    _fields_ = [
        ("steps", _LONG), ("registers", _LONG), ("rules", _LONG), ("words", _LONG), ("step", _POINTER),
        ("outputs", _POINTER * 3), ("used", _LONG * 3),
    ]  # fmt: skip


class _Group(ctypes.Structure):
    _fields_ = [
        ("trees", _LONG), ("nodes", _POINTER), ("planes", _POINTER), ("values", _POINTER),
        ("steps", _POINTER), ("lanes", _POINTER), ("shift", _POINTER), ("paths", _POINTER),
    ]  # fmt: skip


class _Trees(ctypes.Structure):
    _fields_ = [
        ("columns", _LONG), ("features", _LONG), ("base", ctypes.c_double), ("unit", ctypes.c_double), ("constant", _LONG),
        ("tiles", _Group * (TILE_DEPTH + 1)), ("deep_trees", _LONG), ("deep", _POINTER), ("deep_value", _POINTER),
        ("deep_feature", _POINTER), ("deep_root", _POINTER), ("deep_depth", _POINTER),
    ]  # fmt: skip


class _Scores(ctypes.Structure):
    _fields_ = [("cuts", _POINTER), ("rules", _POINTER), ("trees", _POINTER), ("clauses", _POINTER), ("net", _POINTER)]


class _Clauses(ctypes.Structure):
    _fields_ = [("runs", _POINTER), ("clause", _POINTER), ("literals", _POINTER)]


_TILE_NODE = np.dtype([("offset", "<u4"), ("rank", "<u4")])
_ROW_STEP = np.dtype([("column", "<u2"), ("rank", "<u2")])
_DEEP_NODE = np.dtype([("column", "<u2"), ("rank", "<u2"), ("left", "<i4")])


def layout_sizes() -> list[int]:
    """Return the sizes that kernels_size_of has to give."""
    from kernels.net_margin.native_layout import Net

    structures = (_Cuts, _Rules, _Trees, _Clauses, _Scores, ScoreCall, Net)
    return [*map(ctypes.sizeof, structures), INSTRUCTION.itemsize, CLAUSE.itemsize, BLOCK]


class Native:
    """A C struct, with the arrays that it points at."""

    def __init__(self, structure: ctypes.Structure) -> None:
        self.structure = structure
        self.address = ctypes.addressof(structure)
        self.parts: tuple = ()
        self._arrays: list[np.ndarray] = []

    def keep(self, array: np.ndarray, kind=None) -> int:
        """Return the address of a C-contiguous copy, on a 64-byte boundary, that lives as long as this does."""
        source = np.ascontiguousarray(array, kind)
        room = np.empty(source.nbytes + 64, np.uint8)
        start = -room.ctypes.data % 64
        kept = room[start : start + source.nbytes]
        kept[...] = source.reshape(-1).view(np.uint8)
        self._arrays.append(kept)
        return kept.ctypes.data


def native_cuts(table: CutTable) -> Native:
    """Return the cut_table of a CutTable."""
    count = np.diff(table.offsets)
    levels = np.array([int(n).bit_length() for n in count], np.int32)
    # Sixteen columns are searched together for one row: they share the size of their tables.
    groups = -(-table.columns // _TOGETHER)
    padded = np.zeros(groups * _TOGETHER, np.int32)
    padded[: table.columns] = levels
    group_levels = np.maximum(padded.reshape(groups, _TOGETHER).max(axis=1, initial=0), _TOP_LEVELS)
    size = np.repeat((1 << group_levels) - 1, _TOGETHER)[: table.columns]
    start = (np.cumsum(size) - size).astype(np.int32)
    filled = np.full(int(size.sum()) + 1, np.nan, np.float32)
    for k, n in enumerate(count):
        filled[start[k] : start[k] + n] = table.cuts[table.offsets[k] : table.offsets[k + 1]]
    read = np.concatenate([table.source, table.derived["a"], table.derived["b"]])
    need = np.unique(read[(read >= 0) & (read < table.features)]).astype(np.int32)
    native = Native(_Cuts(table.features, table.columns, table.lists, len(table.derived), len(need)))
    of = native.structure
    of.derivations, of.need, of.source = native.keep(table.derived, DERIVATION), native.keep(need), native.keep(table.source)
    of.levels, of.start, of.table = native.keep(levels), native.keep(start), native.keep(filled)
    of.row_levels, of.row_top = native.keep(group_levels, np.int32), native.keep(_top_cuts(filled, start, group_levels))
    heap_start, heap = _cut_heaps(filled, start, levels)
    of.heap_start, of.heap = native.keep(heap_start, np.int32), native.keep(heap)
    return native


def _cut_heaps(filled: np.ndarray, start: np.ndarray, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each column's heap of cuts begins, and all heaps: place 1 is the middle cut, 2 and 3 the quarters, ..."""
    size = np.maximum(1 << levels, 16)
    heap_start = np.cumsum(size) - size
    heap = np.full(int(size.sum()), np.nan, np.float32)
    for k, first in enumerate(start):
        for level in range(levels[k]):
            step = 1 << levels[k] >> (level + 1)
            places = slice(heap_start[k] + (1 << level), heap_start[k] + (2 << level))
            heap[places] = filled[first + step - 1 + 2 * step * np.arange(1 << level)]
    return heap_start, heap


def _top_cuts(filled: np.ndarray, start: np.ndarray, group_levels: np.ndarray) -> np.ndarray:
    """Return [groups, 2 ** _TOP_LEVELS - 1, _TOGETHER]: the cuts that the first steps compare with, step by step."""
    top = np.full((len(group_levels), (1 << _TOP_LEVELS) - 1, _TOGETHER), np.nan, np.float32)
    for k, first in enumerate(start):
        group, place = divmod(k, _TOGETHER)
        for level in range(_TOP_LEVELS):
            step = 1 << group_levels[group] >> (level + 1)
            at = first + step - 1 + 2 * step * np.arange(1 << level)
            top[group, (1 << level) - 1 : (2 << level) - 1, place] = filled[at]
    return top


def native_rules(table: RuleTable) -> Native:
    """Return the rule_table of a RuleTable."""
    native = Native(_Rules(len(table.steps), table.registers, table.rules, table.words))
    of = native.structure
    of.step = native.keep(table.steps)
    for i, output in enumerate((table.hit, table.insufficient, table.error)):
        of.outputs[i], of.used[i] = native.keep(output), table.outputs[i]
    return native


def native_trees(table: TreeTable) -> Native:
    """Return the tree_table of a TreeTable."""
    native = Native(_Trees(table.columns, table.features, table.base, 2.0**-table.scale))
    of = native.structure
    of.constant = int(table.value[table.roots[table.depth == 0]].sum(dtype=np.int64))
    for depth in range(1, TILE_DEPTH + 1):
        roots = table.roots[table.depth == depth]
        if len(roots):
            _fill_group(native, of.tiles[depth], table, roots, depth)
    _fill_deep(native, table)
    return native


def native_scores(cuts: CutTable, rules: RuleTable, trees: TreeTable | None, net: NetTable | None) -> Native:
    """Return the score_tables of all four, which it keeps alive."""
    clauses = native_clauses(cuts, rules) if trees is None else None
    parts = (cuts.native, rules.native, trees.native if trees else None, clauses, net.native if net else None)
    native = Native(_Scores(*(part.address if part else None for part in parts)))
    native.parts = parts
    return native


def native_clauses(cuts: CutTable, rules: RuleTable) -> Native | None:
    """Return the rules as a clause_table, or None where they would be too many clauses."""
    found = clauses_of(cuts, rules)
    if found is None:
        return None
    native = Native(_Clauses())
    literals = found.literals.copy()
    literals["column"] *= _WIDE
    of = native.structure
    of.runs, of.clause, of.literals = native.keep(found.runs), native.keep(found.clauses), native.keep(literals)
    return native


def _fill_group(native: Native, group: _Group, table: TreeTable, roots: np.ndarray, depth: int) -> None:
    leaves = 1 << depth
    heap = _heaps(table, roots, depth)
    inner = heap[:, :leaves].copy()
    inner[:, 0] = roots  # heaps begin at 1: the first entry is never looked at
    tested = table.column[inner] >= 0
    # Below a leaf that lies higher up, both ways lead to that leaf: any test will do.
    column = np.where(tested, table.column[inner], 0)
    shift = np.where(tested, table.shift[inner], 0)
    rank = np.where(tested, table.rank[inner], 0)
    doubled = np.where(shift == 1, column, table.columns + column)
    group.trees = len(roots)

    order = np.array(_evaluation_order(1, depth))
    nodes = np.empty((len(roots), leaves - 1), _TILE_NODE)
    nodes["offset"] = doubled[:, order] * BLOCK
    nodes["rank"] = rank[:, order].astype(np.uint32) * 0x01010101
    group.nodes = native.keep(nodes)

    values = table.value[heap]
    values[:, 0] = 0
    group.values = native.keep(values)
    biased = (values[:, leaves:].astype(np.int64) + 2**31).astype("<u4")
    planes = np.zeros((len(roots), 4, 64), np.uint8)
    planes[:, :, :leaves] = biased.view(np.uint8).reshape(len(roots), leaves, 4).transpose(0, 2, 1)
    group.planes = native.keep(planes)

    steps = np.empty((len(roots), leaves), _ROW_STEP)
    steps["column"], steps["rank"] = doubled, rank
    group.steps = native.keep(steps)
    group.paths = native.keep(_paths(values, np.where(tested, table.feature[inner], 0), depth))
    if table.columns <= 256:
        _fill_lanes(native, group, table.columns, column[:, order], shift[:, order], rank[:, order])


def _fill_lanes(native: Native, group: _Group, columns: int, column: np.ndarray, shift: np.ndarray, rank: np.ndarray) -> None:
    """Lay the nodes [trees, places] out for 64 trees at a time; trees that fill the last 64 up are never added."""
    trees, places = column.shape
    groups = -(-trees // 64)
    if columns <= 64:
        column = column + 64 * shift
    lanes = np.zeros((groups * 64, places, 2), np.uint8)
    lanes[:trees, :, 0], lanes[:trees, :, 1] = column, rank
    group.lanes = native.keep(lanes.reshape(groups, 64, places, 2).transpose(0, 2, 3, 1))
    if columns > 64:
        bits = np.zeros((groups * 64, places), np.uint64)
        bits[:trees] = shift
        place = np.arange(64, dtype=np.uint64)[None, :, None]
        group.shift = native.keep((bits.reshape(groups, 64, places) << place).sum(axis=1, dtype=np.uint64))


def _paths(values: np.ndarray, feature: np.ndarray, depth: int) -> np.ndarray:
    """Return [trees, leaves, depth] uint64: of each step to a leaf, its feature (high half) and what it changes (low half)."""
    leaves = 1 << depth
    paths = np.empty((len(values), leaves, depth), np.uint64)
    child = np.arange(leaves, 2 * leaves)
    for step in range(depth):
        parent = child >> 1
        change = (values[:, child].astype(np.int64) - values[:, parent]).astype(np.int32).view(np.uint32)
        paths[:, :, step] = feature[:, parent].astype(np.uint64) << np.uint64(32) | change
        child = parent
    return paths


def _heaps(table: TreeTable, roots: np.ndarray, depth: int) -> np.ndarray:
    """Return [trees, 2 ** (depth + 1)] node at each place of a complete tree; a leaf fills all places below it."""
    heap = np.zeros((len(roots), 2 << depth), np.int32)
    heap[:, 1] = roots
    for level in range(depth):
        place = np.arange(1 << level, 2 << level)
        node = heap[:, place]
        left = table.left[node]
        heap[:, 2 * place] = left
        heap[:, 2 * place + 1] = left + (table.column[node] >= 0)
    return heap


@cache
def _evaluation_order(place: int, depth: int) -> tuple[int, ...]:
    """Return heap places as tiles.h visits them: left subtree, right subtree, node."""
    if depth == 0:
        return ()
    return (*_evaluation_order(2 * place, depth - 1), *_evaluation_order(2 * place + 1, depth - 1), place)


def _fill_deep(native: Native, table: TreeTable) -> None:
    deep = np.flatnonzero(table.depth > TILE_DEPTH)
    deep = deep[np.argsort(table.depth[deep], kind="stable")]
    of = native.structure
    of.deep_trees = len(deep)
    if not len(deep):
        return
    inner = table.column >= 0
    nodes = np.zeros(len(table.column), _DEEP_NODE)
    nodes["column"] = np.where(inner, np.where(table.shift == 1, table.column, table.columns + table.column), 0)
    nodes["rank"] = np.where(inner, table.rank.astype(np.uint16), _NEVER_RIGHT)
    nodes["left"] = table.left
    of.deep, of.deep_value, of.deep_feature = native.keep(nodes), native.keep(table.value), native.keep(table.feature)
    of.deep_root, of.deep_depth = native.keep(table.roots[deep]), native.keep(table.depth[deep])
