"""Our side: tables compiled from rules and a forest, as the product compiles them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.benchmarks.side_by_side.engines import LeftOut


def compiled_tables(feature_names: Sequence[str], rules: Sequence[Any], model: bytes | None):
    """Return the ScoreTables of rules (inference_core.Rule) and of an XGBoost model (JSON), either of them may be none."""
    from inference_core import FeatureColumn, FeatureSchema, Forest
    from inference_core.compiler import compile_program

    schema = FeatureSchema(tuple(FeatureColumn(name, "", name) for name in feature_names))
    if model is None:
        return compile_program(schema, tuple(rules), (), None).tables
    forest = Forest.from_xgboost(model, schema.names)
    return compile_program(schema, tuple(rules), (), forest.trees, forest.base).tables


def kernel_facts(tables) -> dict[str, Any]:
    """Return what of the compiled program explains its speed."""
    from kernels.native import cpu_variant

    cuts = tables.cuts
    return {"kernel": cpu_variant(), "bin_columns": cuts.columns, "cuts": len(cuts.cuts)}


def require_compiled_kernels() -> None:
    """Refuse to publish figures of the slow references."""
    from kernels.native import has_compiled_kernels

    if not has_compiled_kernels():
        raise LeftOut("no compiled kernels are installed; run `make bench-forest`, which builds them")
