"""Random tables of rules and trees on bins, and rows that lie on their cuts."""

from __future__ import annotations

import numpy as np

from kernels.score_rows import ScoredRows, ScoreTables
from kernels.tables import INSTRUCTION, MISSING, NEVER, Combine, CutTable, RuleTable, Source, TreeTable

FIELDS = ("margin", "bits.hit", "bits.insufficient", "bits.error", "top_features", "top_contributions")


def tables(seed: int, *, features: int = 5, lists: int = 2, trees: int = 4, rules: int = 3, depth: int = 3) -> ScoreTables:
    """Return tables with these sizes; no trees gives rules alone."""
    rng = np.random.default_rng(seed)
    cuts = [np.unique(np.round(rng.normal(size=rng.integers(1, 7)), 1)).astype(np.float32) for _ in range(features)]
    offsets = np.concatenate([[0], np.cumsum([len(of) for of in cuts])])
    cut_table = CutTable(np.concatenate(cuts), offsets, np.arange(features), features, lists)
    counts = [len(of) for of in cuts]
    return ScoreTables(cut_table, _rules(rng, rules, cut_table), _trees(rng, trees, depth, counts) if trees else None)


def rows(of: ScoreTables, seed: int, count: int, missing: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Return x [count, F], many values exactly on a cut, and memberships [count, L]."""
    rng = np.random.default_rng(seed)
    x = rng.choice(np.concatenate([of.cuts.cuts, [-np.inf, np.inf, 0.05]]), (count, of.cuts.features)).astype(np.float32)
    x[rng.random(x.shape) < missing] = np.nan
    return x, rng.random((count, of.cuts.lists)) < 0.4


def assert_same(ours: ScoredRows, theirs: ScoredRows) -> None:
    """Assert that both say the same, bit for bit; a NaN is a NaN whatever its bits, which differ between devices."""
    for field in FIELDS:
        a, b = (_get(of, field) for of in (ours, theirs))
        assert (a.dtype, a.shape) == (b.dtype, b.shape), field
        if a.dtype.kind == "f":
            a, b = (np.where(np.isnan(of), np.float32(np.nan), of) for of in (a, b))
        assert a.tobytes() == b.tobytes(), field


def _get(of: ScoredRows, field: str) -> np.ndarray:
    for name in field.split("."):
        of = getattr(of, name)
    return of


def _rules(rng: np.random.Generator, count: int, cuts: CutTable) -> RuleTable:
    steps, registers = [], []
    for rule in range(count):
        for op in (Combine.SET, Combine.AND, Combine.OR)[: rng.integers(1, 4)]:
            low, width = (MISSING, 1) if rng.random() < 0.2 else (int(rng.integers(0, 4)), int(rng.integers(1, 5)))
            steps.append((op, Source.PREDICATE, int(rng.integers(0, 2)), low, width, 0, int(rng.integers(0, cuts.width)), -1))
        steps[-1] = (*steps[-1][:-1], rule)
        registers.append(rule)
    error = [int(rng.integers(0, count)) if rng.random() < 0.5 else NEVER for _ in range(count)]
    return RuleTable(np.array(steps, INSTRUCTION), count, registers, [NEVER] * count, error, cuts.width)


def _trees(rng: np.random.Generator, count: int, depth: int, counts: list[int]) -> TreeTable:
    column, shift, rank, left, roots, depths = [], [], [], [], [], []
    for _ in range(count):
        roots.append(len(column))
        depths.append(int(rng.integers(0, depth + 1)))
        level = [_node(column, shift, rank, left)]
        for _ in range(depths[-1]):
            below = []
            for node in level:
                feature = int(rng.integers(0, len(counts)))
                column[node], shift[node] = feature, int(rng.integers(0, 2))
                rank[node] = int(rng.integers(1, counts[feature] + 1)) + shift[node]
                left[node] = len(column)
                below += [_node(column, shift, rank, left), _node(column, shift, rank, left)]
            level = below
    value = rng.integers(-(2**20), 2**20, len(column))
    return TreeTable(column, shift, rank, left, value, column, roots, depths, 20, -1.5, len(counts), len(counts))


def _node(column: list[int], shift: list[int], rank: list[int], left: list[int]) -> int:
    for of, value in ((column, -1), (shift, 0), (rank, 0), (left, len(left))):
        of.append(value)
    return len(column) - 1
