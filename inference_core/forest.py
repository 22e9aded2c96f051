"""A gradient-boosted forest, read from XGBoost's own JSON or UBJSON model without XGBoost."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np

from inference_core.errors import ProgramError
from inference_core.ubjson import decode_ubjson
from kernels.forest_margin import NODE, ForestArrays, forest_contributions, forest_margin

_LINKS = {"binary:logistic": "logit", "binary:logitraw": "identity", "reg:squarederror": "identity", "reg:logistic": "logit"}


@dataclass(frozen=True)
class Forest:
    """Trees over named features, giving one raw margin (log-odds) a row."""

    arrays: ForestArrays
    feature_names: tuple[str, ...]

    @classmethod
    def from_xgboost(cls, raw: bytes, feature_names: tuple[str, ...]) -> Forest:
        """Read a saved booster (JSON or UBJSON) that was trained on exactly these features in this order.

        Raises:
            ProgramError: not such a model, or one that this version cannot run; the message says which part.
        """
        model = _parse(raw)
        try:
            return cls._read(model, tuple(feature_names))
        except ProgramError:
            raise
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ProgramError(
                f"not an XGBoost model that can be read: a part is missing or damaged ({type(error).__name__}: {error})"
            ) from None

    @classmethod
    def _read(cls, model: dict, feature_names: tuple[str, ...]) -> Forest:
        learner = _get(model, "learner", "the model")
        trees = _get(_get(learner, "gradient_booster", "learner"), "model", "gradient_booster").get("trees")
        if trees is None:
            raise ProgramError(
                "only the boosters gbtree (and dart saved as gbtree) can be read; there are no trees in this model"
            )
        count = int(_get(_get(learner, "learner_model_param", "learner"), "num_feature", "learner_model_param"))
        if count != len(feature_names):
            raise ProgramError(
                f"the model has {count} features, the schema {len(feature_names)}: train it on the schema's columns"
            )
        stored = tuple(learner.get("feature_names") or ())
        if stored and stored != feature_names:
            raise ProgramError("the model's feature names or their order differ from the schema's")
        return cls(_arrays(trees, _base_margin(learner), count), feature_names)

    @property
    def tree_count(self) -> int:
        return len(self.arrays.roots)

    def margins(self, x: np.ndarray) -> np.ndarray:
        """Return log-odds [B] float32 of rows x [B, F] float32."""
        return forest_margin(self.arrays, x)

    def margins_and_contributions(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log-odds [B] and path contributions [B, F], float32."""
        return forest_contributions(self.arrays, x)


def _parse(raw: bytes) -> dict:
    try:
        # JSON models begin with '{"' or '{' and white space; in UBJSON a length marker follows the brace.
        return json.loads(raw) if raw[:2] in (b'{"', b"{\n", b"{ ") else decode_ubjson(raw)
    except (ValueError, IndexError, UnicodeDecodeError, RecursionError) as error:
        raise ProgramError(f"not an XGBoost model in JSON or UBJSON: {error}") from None


def _get(of: dict, name: str, where: str):
    if not isinstance(of, dict) or name not in of:
        raise ProgramError(f"not an XGBoost model: {where} has no {name!r}")
    return of[name]


def _base_margin(learner: dict) -> float:
    objective = _get(_get(learner, "objective", "learner"), "name", "objective")
    if objective not in _LINKS:
        raise ProgramError(f"objective {objective!r} is not supported; use one of {sorted(_LINKS)}")
    parameters = learner["learner_model_param"]
    if int(parameters.get("num_class", 0)) > 1 or int(parameters.get("num_target", 1)) > 1:
        raise ProgramError("models with several outputs are not supported; train one binary model")
    # Older versions write "5E-1", newer ones "[5E-1]".
    base = float(str(parameters["base_score"]).strip("[]"))
    is_probability = _LINKS[objective] == "logit"
    if not (0 < base < 1 if is_probability else math.isfinite(base)):
        raise ProgramError(f"base_score {base} is not {'a probability above 0 and below 1' if is_probability else 'finite'}")
    return math.log(base / (1 - base)) if is_probability else base


def _arrays(trees: list[dict], base: float, features: int) -> ForestArrays:
    nodes, means, roots = [], [], []
    start = 0
    for number, tree in enumerate(trees):
        tree_nodes, tree_means = _one_tree(tree, number, start, features)
        roots.append(start)
        nodes.append(tree_nodes)
        means.append(tree_means)
        start += len(tree_nodes)
    return ForestArrays(
        nodes=np.concatenate(nodes) if nodes else np.zeros(0, NODE),
        mean=np.concatenate(means) if means else np.zeros(0, np.float32),
        roots=np.array(roots, np.int32),
        base=float(np.float32(base)),
        features=features,
    )


def _one_tree(tree: dict, number: int, start: int, features: int) -> tuple[np.ndarray, np.ndarray]:
    if len(tree.get("categories", ())) or np.any(np.asarray(tree.get("split_type", ()))):
        raise ProgramError(f"tree {number} has categorical splits, which are not supported; encode the feature as numbers")
    if tree.get("tree_param", {}).get("size_leaf_vector", "1") not in ("0", "1"):
        raise ProgramError(f"tree {number} has vector leaves, which are not supported")
    left, right, feature, threshold, default_left, cover = _columns(tree, number)
    order = _breadth_first(left, right, number)
    place = {old: new for new, old in enumerate(order)}
    mean = _node_means(order, left, right, threshold, cover)
    nodes = np.zeros(len(order), NODE)
    for new, old in enumerate(order):
        if left[old] < 0:
            nodes[new] = (0.0, -1, start + new, 0)
            continue
        if not 0 <= feature[old] < features:
            raise ProgramError(f"tree {number} tests feature {feature[old]}, but there are {features}")
        nodes[new] = (threshold[old], feature[old], start + place[left[old]], default_left[old] != 0)
    return nodes, np.array([mean[old] for old in order], np.float32)


def _columns(tree: dict, number: int) -> list[np.ndarray]:
    """Return left, right, feature, threshold (or leaf value), default_left and cover, one number a node each."""
    kinds = {
        "left_children": np.int64, "right_children": np.int64, "split_indices": np.int64,
        "split_conditions": np.float32, "default_left": np.int64, "sum_hessian": np.float64,
    }  # fmt: skip
    columns = [np.asarray(tree[name], kind) for name, kind in kinds.items()]
    if columns[0].ndim != 1 or not len(columns[0]) or any(column.shape != columns[0].shape for column in columns):
        raise ProgramError(f"tree {number} is damaged: its columns differ in length")
    left, _, _, threshold, _, cover = columns
    if np.isnan(threshold).any() or not np.isfinite(threshold[left < 0]).all() or not np.isfinite(cover).all():
        raise ProgramError(f"tree {number} is damaged: a threshold, a leaf or a cover is not a number")
    return columns


def _breadth_first(left: np.ndarray, right: np.ndarray, number: int) -> list[int]:
    """Order the reachable nodes so that siblings are neighbours."""
    order, at = [0], 0
    reached = {0}
    while at < len(order):
        node = order[at]
        at += 1
        if left[node] < 0:
            continue
        children = (int(left[node]), int(right[node]))
        if reached.intersection(children) or children[0] == children[1] or not all(0 <= child < len(left) for child in children):
            raise ProgramError(f"tree {number} is not a tree: a child is shared or out of range")
        order += children
        reached.update(children)
    return order


def _node_means(order: list[int], left: np.ndarray, right: np.ndarray, value: np.ndarray, cover: np.ndarray) -> dict[int, float]:
    mean: dict[int, float] = {}
    for node in reversed(order):
        if left[node] < 0:
            mean[node] = float(value[node])
            continue
        weights = cover[[left[node], right[node]]]
        total = weights.sum() or 1.0
        mean[node] = float((mean[left[node]] * weights[0] + mean[right[node]] * weights[1]) / total)
    return mean
