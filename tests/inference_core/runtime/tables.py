"""Random tables of rules and trees on bins, and rows that lie on their cuts."""

from __future__ import annotations

import numpy as np

from kernels.score_rows import ScoredRows, ScoreTables
from tests.kernels.random_tables import Shape, random_tables

FIELDS = ("margin", "bits.hit", "bits.insufficient", "bits.error", "top_features", "top_contributions")


def tables(seed: int, *, features: int = 5, lists: int = 2, trees: int = 4, rules: int = 3, depth: int = 3) -> ScoreTables:
    """Return tables with these sizes; no trees gives rules alone."""
    shape = Shape(features=features, cuts=6, trees=trees, depth=depth, rules=rules, lists=lists, derived=0, seed=seed)
    return random_tables(shape)


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
