"""Tables and rows that the contract of every GPU kernel is checked on, and random forests, without XGBoost or pytest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kernels.score_rows import ScoreTables
from kernels.tables import (
    DERIVATION,
    INSTRUCTION,
    MAX_CUTS,
    NEVER,
    Arithmetic,
    Combine,
    CutTable,
    RuleTable,
    Source,
    TreeTable,
)
from tests.kernels.random_nets import random_net_table

SUBNORMAL = np.float32(1e-42)


@dataclass(frozen=True)
class Case:
    """Attributes:
    name: what is special about it.
    tables: what the kernels read.
    x, memberships: the rows.
    top: contributions a row.
    """

    name: str
    tables: ScoreTables
    x: np.ndarray
    memberships: np.ndarray | None
    top: int


def cut_table(rng: np.random.Generator, features: int, cuts: int, lists: int = 0, derived: bool = True) -> CutTable:
    """Return cuts for `features` columns, up to `cuts` each, zero, subnormals and infinities among them.

    More than MAX_CUTS are spread over several columns. With `derived`, every operation appears, one on another.
    """
    steps = _derivations(features) if derived else np.zeros(0, DERIVATION)
    chunks, source = [], []
    for column in range(features + len(steps)):
        chosen = np.float32(np.round(rng.normal(0, 3, cuts), 2))
        special = np.array([0, SUBNORMAL, -SUBNORMAL, np.inf, -np.inf, 1e-30, -1], np.float32)
        chosen = np.unique(np.concatenate([chosen, special[: column % 8]]))[: max(cuts, 1)]
        chosen = chosen[:0] if column % 11 == 10 else chosen  # a column may have no cut
        for part in np.array_split(chosen, -(-len(chosen) // MAX_CUTS) or 1):
            chunks.append(part)
            source.append(column)
    offsets = np.concatenate([[0], np.cumsum([len(chunk) for chunk in chunks])])
    return CutTable(np.concatenate(chunks), offsets, np.array(source), features, lists, steps)


def _derivations(features: int) -> np.ndarray:
    steps = [
        (int(op), int(op) % features, (int(op) + 1) % features, 0.0, 0.0) for op in Arithmetic
    ]  # every operation on two columns
    last = features + len(steps)
    steps += [
        (Arithmetic.MULTIPLY, 0, -1, 0.0, 1e-39),  # subnormal products
        (Arithmetic.ADD, last, features + 2, 0.0, 0.0),  # a product that feeds a sum, not to be fused
        (Arithmetic.DIVIDE, -1, 0, 1.0, 0.0),  # division by zero
        (Arithmetic.ORDER, -1, -1, 2.0, 3.0),
        (Arithmetic.DIVIDE, 0, -1, 0.0, 3.0),
    ]
    return np.array(steps, DERIVATION)


def rows_for(rng: np.random.Generator, table: CutTable, rows: int) -> np.ndarray:
    """Return rows with ordinary numbers, numbers exactly on a cut or beside one, NaN, infinities, zeros and subnormals."""
    x = rng.normal(0, 3, (rows, table.features)).astype(np.float32)
    cuts = table.cuts if len(table.cuts) else np.zeros(1, np.float32)
    on = rng.choice(cuts, x.shape)
    beside = np.nextafter(on, np.where(rng.random(x.shape) < 0.5, np.float32(np.inf), np.float32(-np.inf)))
    special = rng.choice(np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, SUBNORMAL, -SUBNORMAL, 1e-38], np.float32), x.shape)
    kind = rng.random(x.shape)
    return np.select([kind < 0.4, kind < 0.65, kind < 0.8], [x, on, beside], special).astype(np.float32)


def tree_table(
    rng: np.random.Generator, columns: int, features: int, depths: list[int], full: float = 1.0, scale: int = 26,
    feature_of: np.ndarray | None = None, largest: int = 2**23,
) -> TreeTable:  # fmt: skip
    """Return random trees of these depths; `full` is the chance that a node above the last level is split.

    Along at least one path a tree is as deep as told. feature_of: [columns] the column of x behind each bin column.
    """
    feature_of = np.arange(columns) % features if feature_of is None else feature_of
    trees = [_tree(rng, columns, feature_of, depth, full, largest) for depth in depths]
    starts = np.concatenate([[0], np.cumsum([len(tree["left"]) for tree in trees])]).astype(np.int32)
    joined = {name: np.concatenate([tree[name] for tree in trees]) for name in trees[0]} if trees else dict.fromkeys(
        ("column", "shift", "rank", "left", "value", "feature"), np.zeros(0)
    )  # fmt: skip
    if trees:
        joined["left"] = np.concatenate([tree["left"] + start for tree, start in zip(trees, starts[:-1], strict=True)])
    return TreeTable(
        **joined, roots=starts[:-1], depth=np.array(depths), scale=scale, base=-1.25, features=features, columns=columns
    )


def _tree(
    rng: np.random.Generator, columns: int, feature_of: np.ndarray, depth: int, full: float, largest: int
) -> dict[str, np.ndarray]:
    split, left, levels = [], [], [1]
    count = 1
    for level in range(depth + 1):
        here = rng.random(levels[level]) < full if level < depth else np.zeros(levels[level], bool)
        here[0] |= level < depth
        split.append(here)
        left.append(np.where(here, count + 2 * (np.cumsum(here) - 1), np.arange(count - levels[level], count)))
        count += 2 * int(here.sum())
        levels.append(2 * int(here.sum()))
    inner, left = np.concatenate(split), np.concatenate(left)
    nodes = len(inner)
    column = np.where(inner, rng.integers(0, columns, nodes), -1)
    return {
        "column": column, "shift": rng.integers(0, 2, nodes) * inner, "rank": rng.integers(0, 256, nodes) * inner, "left": left,
        "value": _means(rng, inner, left, largest), "feature": np.where(inner, feature_of[np.maximum(column, 0)], -1),
    }  # fmt: skip


def _means(rng: np.random.Generator, inner: np.ndarray, left: np.ndarray, largest: int) -> np.ndarray:
    value = rng.integers(-largest, largest, len(inner))
    for node in np.flatnonzero(inner)[::-1]:
        value[node] = (value[left[node]] + value[left[node] + 1]) // 2
    return value


def rule_table(rng: np.random.Generator, columns: int, rules: int) -> RuleTable:
    """Return random rules: two to five predicates each, registers shared and written again, some verdicts never given."""
    steps, registers = [], 2 * rules + 4
    for rule in range(rules):
        for part in range(rng.integers(2, 6)):
            source = rng.choice([Source.PREDICATE] * 6 + [Source.REGISTER] * 2 + [Source.TRUE])
            operand = rng.integers(0, columns if source == Source.PREDICATE else registers)
            op = Combine.SET if part == 0 else rng.choice([Combine.AND, Combine.OR])
            store = rng.integers(0, registers) if rng.random() < 0.2 else NEVER
            steps.append((op, source, rng.random() < 0.3, rng.integers(0, 256), rng.integers(0, 256), 0, operand, store))
        steps[-1] = (*steps[-1][:7], rule)
    outputs = [np.where(rng.random(rules) < 0.2, NEVER, rng.permutation(registers)[:rules]) for _ in range(2)]
    return RuleTable(np.array(steps, INSTRUCTION), registers, np.arange(rules), *outputs, columns)


def score_tables(
    rng: np.random.Generator, features: int = 7, cuts: int = 30, lists: int = 0, derived: bool = True, rules: int = 5,
    depths: list[int] | None = None, full: float = 1.0, largest: int = 2**23, net: dict | None = None,
) -> ScoreTables:  # fmt: skip
    """Return tables that fit each other; depths None: no trees; net: what random_net_table is told, None for no net."""
    table = cut_table(rng, features, cuts, lists, derived)
    trees = None if depths is None else tree_table(
        rng, table.columns, features, depths, full, feature_of=np.minimum(table.source, features - 1), largest=largest
    )  # fmt: skip
    rules_of = rule_table(rng, table.width, rules)
    return ScoreTables(table, rules_of, trees, None if net is None else random_net_table(rng, table.columns, cuts=table, **net))


def cases(small: bool = False) -> Iterator[tuple[int, Case]]:
    """Yield the contract's cases, each with the number of its tables.

    `small` keeps them to what Triton's interpreter gets through in seconds.
    """
    shapes = {
        "complete trees": {"depths": [6] * 20},
        "sparse trees of depth 1 to 16": {"depths": list(range(1, 17)), "full": 0.55},
        "trees that are a leaf among others": {"depths": [0, 3, 0, 2, 1], "full": 0.7},
        "leaves alone": {"depths": [0, 0]},
        "a forest without trees": {"depths": []},
        "no forest": {"depths": None},
        "more than 254 cuts a feature": {"features": 3, "cuts": 700, "depths": [5] * 12, "full": 0.9},
        "more than 64 features": {"features": 100, "cuts": 5, "depths": [4] * 30, "full": 0.9},
        "depth 8, the deepest complete layout": {"features": 20, "depths": [8] * 5, "full": 0.8},
        "depth 9, the first sparse one": {"features": 20, "depths": [9, 2], "full": 0.6},
        "one feature": {"features": 1, "cuts": 254, "depths": [3] * 4, "derived": False},
        "130 rules and 3 lists": {"lists": 3, "rules": 130, "depths": [2] * 3},
        "no rules": {"rules": 0, "depths": [3]},
        "contributions beyond 32 bits": {"features": 2, "cuts": 9, "depths": [3] * 900, "largest": 2**28},
        "leaves of 30 bits": {"features": 2, "cuts": 9, "depths": [3] * 40, "largest": 2**30 - 1},
        "equal contributions": {"features": 12, "depths": [2] * 9, "largest": 2},
        "a net of two members": {"depths": [4] * 9, "net": {"members": 2, "widths": (64, 64)}},
        "a net of odd sizes": {"depths": [3] * 5, "lists": 1, "net": {"members": 5, "widths": (192, 64, 128), "features": 7}},
        "a net with thresholds": {"depths": [2], "net": {"widths": (128, 64), "thresholds": (9, 20), "density": 0.2}},
        "a net of one member and four layers": {"depths": [0], "net": {"members": 1, "widths": (64, 64, 64, 64)}},
        "a net of the usual size": {
            "depths": [6] * 20, "features": 60, "net": {"members": 8, "widths": (256, 256), "features": 60}
        },
        "the widest net": {"depths": [3], "net": {"members": 32, "widths": (512, 512)}},
        "300 trees": {"features": 32, "cuts": 60, "depths": [6] * 300, "lists": 1, "rules": 50},
    }  # fmt: skip
    if small:
        del shapes["300 trees"]
        shapes["complete trees"]["depths"] = [6] * 5
        shapes["more than 64 features"]["features"] = 70
        shapes["more than 64 features"]["depths"] = [4] * 5
        shapes["130 rules and 3 lists"]["features"] = 2
        shapes["contributions beyond 32 bits"]["depths"] = [3] * 30
        del shapes["leaves of 30 bits"], shapes["no rules"], shapes["a net of the usual size"], shapes["the widest net"]
    for number, (name, shape) in enumerate(shapes.items()):
        rng = np.random.default_rng(number)
        tables = score_tables(rng, **shape)
        batches = (0, 1, 2, 33, 257, 5000) if not small else (0, 1, 2, 9) if number == 0 else (3,)
        for rows in batches:
            x = rows_for(rng, tables.cuts, rows)
            listed = rng.random((rows, tables.cuts.lists)) < 0.5 if tables.cuts.lists and rows != 1 else None
            yield number, Case(f"{name}, {rows} rows", tables, x, listed, min(4, tables.cuts.features) if rows != 2 else 0)
