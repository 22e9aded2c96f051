"""From feature rows to bins: each feature cut at places that the forest found worth cutting.

A net on these bins sees a piecewise-linear encoding (Gorishniy et al. 2022, arXiv 2203.05556) of each bin's representative,
so that its first layer depends on bins alone and is compiled to a table.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from inference_core.compiler.ir import Tree
from inference_core.net.quantised import MAX_EDGES

# card_last0_amount, card_last1_amount, ...: the same thing of the card's newest event, the one before it, ...
_EVENT_COLUMN = re.compile(r"^(?P<of>\w+_last)(?P<place>\d+)_(?P<what>\w+)$")
_STRONGEST_SHARE = 0.4
# A forest that may choose among features that tell much the same cuts some of them at few places; a net reads all of them.
LEAST_EDGES = 24


@dataclass(frozen=True, eq=False)
class BinEncoding:
    """C features and where each is cut.

    Attributes:
        feature_names: C.
        edges: for each feature [E] float32, ascending, at most MAX_EDGES; bin = number of edges <= value.
    """

    feature_names: tuple[str, ...]
    edges: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        if len(self.feature_names) != len(self.edges) or not self.edges:
            raise ValueError(f"{len(self.feature_names)} features need as many arrays of edges; got {len(self.edges)}")
        object.__setattr__(self, "edges", tuple(np.ascontiguousarray(of, np.float32) for of in self.edges))

    @cached_property
    def depth(self) -> int:
        """The largest number of edges of a feature."""
        return max(len(of) for of in self.edges)

    @property
    def missing(self) -> int:
        """The bin of a missing value, one behind the last that any feature can have."""
        return self.depth + 1

    def only(self, names: Container[str]) -> BinEncoding:
        """Return the encoding of those features alone.

        Raises:
            ValueError: none of them is in it.
        """
        kept = [f for f, name in enumerate(self.feature_names) if name in names]
        return BinEncoding(tuple(self.feature_names[f] for f in kept), tuple(self.edges[f] for f in kept))

    def bins(self, x: np.ndarray) -> np.ndarray:
        """Return [B, C] uint8 bins of rows x [B, C] float32; NaN has the bin `missing`."""
        if x.ndim != 2 or x.shape[1] != len(self.edges):
            raise ValueError(f"x must be [B, {len(self.edges)}]; got {list(x.shape)}")
        found = np.empty(x.shape, np.uint8)
        for f, edges in enumerate(self.edges):
            values = x[:, f]
            found[:, f] = np.where(np.isnan(values), self.missing, np.searchsorted(edges, values, side="right"))
        return found

    @cached_property
    def sharing(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Which columns of a sequence share one encoder: (encoder [C], position [C], number of positions).

        Columns that tell the same of an entity's last events (card_last0_amount, card_last1_amount, ...) and are cut at the
        same edges have one encoder and a position each, from 1; any other feature has an encoder of its own and position 0.
        """
        encoders: dict[tuple, int] = {}
        encoder, position, positions = np.empty(len(self.edges), np.int64), np.zeros(len(self.edges), np.int64), 0
        for f, (name, edges) in enumerate(zip(self.feature_names, self.edges, strict=True)):
            event = _EVENT_COLUMN.match(name)
            key = (event["of"], event["what"], edges.tobytes()) if event else (name,)
            encoder[f] = encoders.setdefault(key, len(encoders))
            if event:
                positions += 1
                position[f] = positions
        return encoder, position, positions


def encoding_of_forest(
    trees: Sequence[Tree], feature_names: tuple[str, ...], x: np.ndarray, max_edges: int = MAX_EDGES
) -> BinEncoding:
    """Return the encoding that a net beside this forest reads: the features that the forest cuts, and sequences of events.

    Args:
        trees: of a forest over `feature_names`.
        x: [n, F] float32 training rows over `feature_names`; sequences, and features that the forest cuts at few places, are
            cut at quantiles as well.

    Raises:
        ValueError: the forest cuts nothing and there is no sequence.
    """
    feature = np.concatenate([tree.feature for tree in trees]) if trees else np.zeros(0, np.int32)
    threshold = np.concatenate([tree.threshold for tree in trees]) if trees else np.zeros(0, np.float32)
    gain = np.concatenate([_gains(tree) for tree in trees]) if trees else np.zeros(0)
    pooled = _sequences(feature_names)
    names, edges, of_sequence = [], [], {}
    for f, name in enumerate(feature_names):
        columns = pooled.get(_sequence_of(name), [f])
        if columns[0] in of_sequence:
            chosen = of_sequence[columns[0]]
        else:
            here = np.isin(feature, columns)
            chosen = choose_edges(threshold[here], gain[here], max_edges)
            if len(columns) > 1:
                chosen = of_sequence[columns[0]] = _with_quantiles(chosen, x[:, columns], max_edges)
            elif len(chosen):
                chosen = _with_quantiles(chosen, x[:, columns], LEAST_EDGES)
        if len(chosen):
            names.append(name)
            edges.append(chosen)
    if not names:
        raise ValueError("the forest cuts no feature, so that there is nothing to encode")
    return BinEncoding(tuple(names), tuple(edges))


def choose_edges(thresholds: np.ndarray, gains: np.ndarray, max_edges: int = MAX_EDGES) -> np.ndarray:
    """Return at most `max_edges` of the thresholds [n], ascending: the strongest, and others spread over the rest of the gain.

    Args:
        gains: [n], what each cut was worth; cuts at one place are added up.
    """
    if not len(thresholds):
        return np.zeros(0, np.float32)
    distinct, place = np.unique(thresholds.astype(np.float32) + np.float32(0), return_inverse=True)
    if len(distinct) <= max_edges:
        return distinct
    worth = np.bincount(place, weights=gains)
    strongest = int(max_edges * _STRONGEST_SHARE)
    kept = set(np.argsort(-worth, kind="stable")[:strongest].tolist())
    # The square root leaves some edges for wide stretches of little gain each.
    reached = np.cumsum(np.sqrt(worth))
    steps = (np.arange(max_edges - strongest) + 0.5) / (max_edges - strongest) * reached[-1]
    kept |= set(np.minimum(np.searchsorted(reached, steps), len(distinct) - 1).tolist())
    return distinct[sorted(kept)]


def _gains(tree: Tree) -> np.ndarray:
    """Return [N] by how much each split moved its children's values, weighted by the rows that they hold; 0 for leaves."""
    gains = np.zeros(len(tree.feature))
    inner = np.flatnonzero(tree.feature >= 0)
    for side in (0, 1):
        child = tree.left[inner] + side
        gains[inner] += tree.cover[child] * (tree.value[child] - tree.value[inner]) ** 2
    return gains


def _sequence_of(name: str) -> tuple[str, str] | None:
    event = _EVENT_COLUMN.match(name)
    return (event["of"], event["what"]) if event else None


def _sequences(names: tuple[str, ...]) -> dict[tuple[str, str], list[int]]:
    found: dict[tuple[str, str], list[int]] = {}
    for f, name in enumerate(names):
        if sequence := _sequence_of(name):
            found.setdefault(sequence, []).append(f)
    return found


def _with_quantiles(edges: np.ndarray, x: np.ndarray, wanted: int) -> np.ndarray:
    """Return the edges and quantiles of the known values, `wanted` at most unless there are more edges already.

    Nothing is added where the values are all unknown or all equal.
    """
    known = x[~np.isnan(x)]
    room = wanted - len(edges)
    if not len(known) or room <= 0:
        return edges
    quantiles = np.quantile(known, np.linspace(0, 1, room + 2)[1:-1]).astype(np.float32) + np.float32(0)
    within = quantiles[(quantiles > known.min()) & (quantiles <= known.max())]
    return np.unique(np.concatenate([edges, within]))
