"""One event through rules, forest and reasons: our one call beside a model server's library with a rule engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tests.benchmarks.forest.case import ForestCase
from tests.benchmarks.forest.peers import open_daal4py, open_onnxruntime, open_xgboost
from tests.benchmarks.rules.case import FEATURES, RulesCase
from tests.benchmarks.rules.generated import open_python
from tests.benchmarks.rules.ours import unpacked
from tests.benchmarks.rules.peers import open_cel
from tests.benchmarks.side_by_side.engines import Call, Engine, Way, version_of
from tests.benchmarks.side_by_side.program import compiled_tables, kernel_facts
from tests.benchmarks.side_by_side.timing import fastest_way

TOP = 4
FUSED = "ours: rules, forest and reasons in one call"
Opener = Callable[..., Engine]


@dataclass(frozen=True, eq=False)
class FusedCase:
    """Rules on the first columns of a forest's rows."""

    forest: ForestCase
    rules: RulesCase

    def rows(self, count: int) -> list[np.ndarray]:
        """Return rows [1, F]; in the columns that no rule reads 5 % are missing."""
        x = self.forest.rows(count, 0.05, seed=5)
        x[:, :FEATURES] = self.forest.rows(count, 0.0, seed=6)[:, :FEATURES]
        return [x[i : i + 1].copy() for i in range(count)]


def open_fused(case: FusedCase) -> Engine:
    """Ours; every result is read, since the arrays of a ScoredRows are made when they are asked for."""
    from kernels.score_rows import score_rows

    started = time.perf_counter()
    tables = compiled_tables(case.forest.feature_names, case.rules.product_rules, case.forest.model)
    prepare_s = time.perf_counter() - started

    def make(x: np.ndarray) -> Call:
        def call():
            scored = score_rows(tables, x, top=TOP)
            return scored.margin, scored.bits.hit, scored.top_features, scored.top_contributions

        return call

    def read(result) -> tuple[float, np.ndarray]:
        return float(result[0][0]), unpacked(result[1], len(case.rules.rules))[0]

    way = Way(f"score_rows, top={TOP}, margin, hits and reasons read", make, read)
    return Engine(FUSED, "this commit", {1: (way,)}, prepare_s, facts={"reasons": True, **kernel_facts(tables)})


def open_xgboost_contributions(case: ForestCase) -> Engine:
    """XGBoost's path contributions (approx_contribs), the same kind as ours, and the largest of them."""
    import xgboost

    booster = xgboost.Booster(model_file=str(case.model_file))
    booster.set_param({"nthread": 1})

    def make(x: np.ndarray) -> Call:
        matrix = xgboost.DMatrix(x)

        def call():
            contributions = booster.predict(matrix, pred_contribs=True, approx_contribs=True)
            top = np.argpartition(contributions[0, :-1], -TOP)[-TOP:]
            return contributions.sum(axis=1), top[np.argsort(-contributions[0, top])]

        return call

    way = Way("predict(pred_contribs, approx_contribs), DMatrix made before, nthread=1", make, lambda result: result[0])
    return Engine("XGBoost contributions", version_of("xgboost-cpu"), {1: (way,)}, facts={"reasons": True})


def pair(open_forest: Opener, open_rules: Opener) -> Callable[[FusedCase], Engine]:
    """Return the opener of a forest engine and a rule engine, called one after the other."""

    def opener(case: FusedCase) -> Engine:
        forest, rules = open_forest(case.forest), open_rules(case.rules)
        row = case.rows(1)[0]
        forest.enter(1)
        margin, _, _ = fastest_way(forest.ways[1], row, tries=200)
        hits, _, _ = fastest_way(rules.ways[1], row[:, :FEATURES], tries=200)

        def make(x: np.ndarray) -> Call:
            first, second = margin.make(x), hits.make(x[:, :FEATURES])
            return lambda: (first(), second())

        def read(result) -> tuple[float, np.ndarray]:
            return float(np.ravel(margin.read(result[0]))[0]), hits.read(result[1])[0]

        way = Way(f"{margin.setting}; {hits.setting}", make, read)
        facts = {"reasons": bool(forest.facts.get("reasons"))}
        version = f"{forest.version}, {rules.version}"
        return Engine(f"{forest.name} + {rules.name}", version, {1: (way,)}, forest.prepare_s + rules.prepare_s, facts=facts)

    return opener


FUSED_ENGINES: Sequence[tuple[str, Callable[[FusedCase], Engine]]] = (
    (FUSED, open_fused),
    ("ONNX Runtime + generated Python", pair(open_onnxruntime, open_python)),
    ("ONNX Runtime + CEL (Rust)", pair(open_onnxruntime, open_cel)),
    ("daal4py + generated Python", pair(open_daal4py, open_python)),
    ("XGBoost + generated Python", pair(open_xgboost, open_python)),
    ("XGBoost contributions + generated Python", pair(open_xgboost_contributions, open_python)),
)
