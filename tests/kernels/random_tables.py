"""Random cuts, trees and rules of any shape, made without a trainer, and rows that look for their edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.score_rows import ScoreTables
from kernels.tables import DERIVATION, INSTRUCTION, MAX_CUTS, NEVER, Arithmetic, Combine, CutTable, RuleTable, Source, TreeTable
from tests.kernels.random_nets import random_net_table


@dataclass(frozen=True)
class Shape:
    """How large the tables are."""

    features: int = 5
    cuts: int = 9
    trees: int = 7
    depth: int = 4
    rules: int = 5
    lists: int = 2
    derived: int = 3
    complete: bool = False
    net: bool = False
    seed: int = 0


def random_tables(shape: Shape) -> ScoreTables:
    """Return tables of that shape; features with more than MAX_CUTS cuts are spread over columns."""
    rng = np.random.default_rng(shape.seed)
    cuts = _cuts(shape, rng)
    trees = _trees(shape, cuts, rng) if shape.trees else None
    rules = _rules(shape, cuts, rng)
    net = random_net_table(rng, cuts.columns, cuts=cuts) if shape.net and trees is not None and cuts.columns else None
    return ScoreTables(cuts, rules, trees, net)


def _cuts(shape: Shape, rng: np.random.Generator) -> CutTable:
    pieces, source = [], []
    special = np.array([0.0, np.inf, -np.inf, 1e-45, np.finfo(np.float32).max], np.float32)
    for of in range(shape.features + shape.derived):
        number = int(rng.integers(0, shape.cuts + 1)) if of else shape.cuts
        values = np.concatenate([rng.normal(size=number).astype(np.float32), rng.choice(special, min(number, 2), replace=False)])
        values = np.unique(values)[:number]
        for start in range(0, len(values), MAX_CUTS):
            pieces.append(values[start : start + MAX_CUTS])
            source.append(of)
    derived = np.zeros(shape.derived, DERIVATION)
    for d in range(shape.derived):
        reach = shape.features + d
        operands = [int(rng.integers(-1, reach)), int(rng.integers(0, reach))]
        derived[d] = (rng.choice(list(Arithmetic)), *operands, np.float32(rng.normal()), 0)
    offsets = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])])
    flat = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    return CutTable(flat, offsets, np.array(source, np.int32), shape.features, shape.lists, derived)


def _trees(shape: Shape, cuts: CutTable, rng: np.random.Generator) -> TreeTable:
    usable = [k for k in range(cuts.columns) if cuts.source[k] < shape.features and cuts.offsets[k] < cuts.offsets[k + 1]]
    nodes, roots, depths = [], [], []
    for _ in range(shape.trees):
        roots.append(len(nodes))
        depths.append(_grow(nodes, shape, cuts, usable, rng))
    table = np.array(nodes, np.int64)
    scale = 20
    names = ("column", "shift", "rank", "left", "value", "feature")
    return TreeTable(**dict(zip(names, table.T, strict=True)), roots=roots, depth=depths, scale=scale,
                     base=float(rng.normal()), features=shape.features, columns=cuts.columns)  # fmt: skip


def _grow(nodes: list, shape: Shape, cuts: CutTable, usable: list[int], rng: np.random.Generator) -> int:
    """Append one tree, siblings side by side; return its depth."""
    waiting, deepest = [(len(nodes), 0)], 0
    nodes.append(None)
    # A path of the full depth always exists; elsewhere branches end early, so that deep trees stay small.
    while waiting:
        at, level = waiting.pop(0)
        deepest = max(deepest, level)
        value = int(rng.integers(-(2**24), 2**24))
        on_the_way = level < shape.depth and usable and (shape.complete or at == max(w[0] for w in [*waiting, (at, level)]))
        if not (on_the_way or (level < shape.depth and usable and rng.random() < (0.8 if level < 5 else 0.2))):
            nodes[at] = (-1, 0, 0, at, value, -1)
            continue
        column = int(rng.choice(usable))
        shift = int(rng.integers(0, 2))
        rank = int(rng.integers(1, cuts.offsets[column + 1] - cuts.offsets[column] + 1)) + shift
        left = len(nodes)
        nodes += [None, None]
        nodes[at] = (column, shift, rank, left, value, int(cuts.source[column]))
        waiting += [(left, level + 1), (left + 1, level + 1)]
    return deepest


def _rules(shape: Shape, cuts: CutTable, rng: np.random.Generator) -> RuleTable:
    steps, stored = [], 0
    outputs = np.full((3, shape.rules), NEVER, np.int32)
    for rule in range(shape.rules):
        for output in range(3):
            if output and rng.random() < 0.6:
                continue
            for s in range(int(rng.integers(1, 6))):
                steps.append(_step(s, stored, cuts, rng))
            steps[-1] = (*steps[-1][:7], stored)
            outputs[output, rule] = stored
            stored += 1
    return RuleTable(np.array(steps, INSTRUCTION), stored, *outputs, columns=cuts.width)


def _step(place: int, stored: int, cuts: CutTable, rng: np.random.Generator) -> tuple:
    op = Combine.SET if place == 0 else rng.choice([Combine.AND, Combine.OR])
    choices = [Source.TRUE] + [Source.PREDICATE] * 4 * bool(cuts.width) + [Source.REGISTER] * bool(stored)
    source = rng.choice(choices)
    negate = int(rng.integers(0, 2))
    if source == Source.REGISTER:
        return op, source, negate, 0, 0, 0, int(rng.integers(stored)), -1
    low, width = int(rng.choice([0, 1, 2, 255, rng.integers(0, 256)])), int(rng.choice([0, 1, 3, 100, 255]))
    return op, source, negate, low, width, 0, int(rng.integers(cuts.width)) if source == Source.PREDICATE else 0, -1


def rows_near(cuts: CutTable, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x and memberships: values on a cut, one float beside, infinite, missing, tiny, and others."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, cuts.features)).astype(np.float32)
    for k, source in enumerate(cuts.source):
        own = cuts.cuts[cuts.offsets[k] : cuts.offsets[k + 1]]
        if source < cuts.features and len(own) and rows:
            exact = rng.choice(own, rows)
            beside = np.nextafter(exact, rng.choice(np.array([-np.inf, np.inf], np.float32), rows))
            kind = rng.random(rows)
            x[:, source] = np.where(kind < 0.4, exact, np.where(kind < 0.7, beside, x[:, source]))
    odd = np.array([np.nan, np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45], np.float32)
    x = np.where(rng.random(x.shape) < 0.15, rng.choice(odd, x.shape), x)
    return x, rng.random((rows, cuts.lists)) < 0.4
