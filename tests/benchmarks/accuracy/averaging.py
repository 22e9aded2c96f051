"""Several boosters as one: the mean of their margins, in XGBoost's own format and over the schema's columns."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence


def averaged_model(boosters: Sequence[bytes], columns: Sequence[str], schema_names: Sequence[str]) -> bytes:
    """Return one XGBoost JSON model whose margin is the mean of the margins of `boosters`.

    A margin is a base plus a sum over trees, so the mean over n boosters is all their trees with leaves divided by n, on the
    mean of the bases. The result reads rows of all `schema_names` and needs `columns` of them; XGBoost loads it as any other.

    Args:
        boosters: JSON models (`save_raw("json")`) with the objective binary:logistic, trained on exactly `columns`.
    """
    models = [json.loads(raw) for raw in boosters]
    place = {name: i for i, name in enumerate(schema_names)}
    positions = [place[name] for name in columns]
    trees = [_moved(tree, positions, len(place), 1.0 / len(models)) for model in models for tree in _ensemble(model)["trees"]]
    for number, tree in enumerate(trees):
        tree["id"] = number
    merged = models[0]
    learner = merged["learner"]
    ensemble = _ensemble(merged)
    ensemble["trees"] = trees
    ensemble["tree_info"] = [0] * len(trees)
    ensemble["iteration_indptr"] = list(range(len(trees) + 1))
    ensemble["gbtree_model_param"] |= {"num_trees": str(len(trees)), "num_parallel_tree": "1"}
    base = sum(_base_margin(model) for model in models) / len(models)
    learner["learner_model_param"] |= {
        "num_feature": str(len(place)),
        "base_score": f"[{1.0 / (1.0 + math.exp(-base)):.9E}]",
        "boost_from_average": "0",
    }
    learner["feature_names"], learner["feature_types"] = list(schema_names), []
    return json.dumps(merged, separators=(",", ":")).encode()


def _ensemble(model: dict) -> dict:
    return model["learner"]["gradient_booster"]["model"]


def _base_margin(model: dict) -> float:
    base = float(model["learner"]["learner_model_param"]["base_score"].strip("[]"))
    return math.log(base / (1.0 - base))


def _moved(tree: dict, positions: list[int], width: int, share: float) -> dict:
    """Return the tree with its columns renumbered and its leaves scaled."""
    is_leaf = [child < 0 for child in tree["left_children"]]
    values = [value * share if leaf else value for value, leaf in zip(tree["split_conditions"], is_leaf, strict=True)]
    # A leaf tests nothing; XGBoost writes 0 there.
    indices = [0 if leaf else positions[i] for i, leaf in zip(tree["split_indices"], is_leaf, strict=True)]
    return tree | {
        "split_conditions": values,
        "base_weights": [weight * share for weight in tree["base_weights"]],
        "split_indices": indices,
        "tree_param": tree["tree_param"] | {"num_feature": str(width)},
    }
