"""The reader of XGBoost's own JSON or UBJSON models, without XGBoost: what it returns are the trees of the IR."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np

from inference_core.compiler.ir import Tree
from inference_core.errors import ProgramError
from inference_core.ubjson import decode_ubjson

LEAF_LIMIT = 2.0**30
"""Leaves must be smaller, so that their differences fit into fixed point."""

_LINKS = {"binary:logistic": "logit", "binary:logitraw": "identity", "reg:squarederror": "identity", "reg:logistic": "logit"}


@dataclass(frozen=True, eq=False)
class XGBoostModel:
    """Attributes:
    trees: in the model's order.
    base: margin of a forest without trees.
    """

    trees: tuple[Tree, ...]
    base: float


def read_xgboost(raw: bytes, feature_names: tuple[str, ...]) -> XGBoostModel:
    """Read a saved booster (JSON or UBJSON) that was trained on exactly these features in this order.

    Raises:
        ProgramError: not such a model, or one that this version cannot run; the message says which part.
    """
    model = _parse(raw)
    try:
        return _read(model, feature_names)
    except ProgramError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ProgramError(
            f"not an XGBoost model that can be read: a part is missing or damaged ({type(error).__name__}: {error})"
        ) from None


def _parse(raw: bytes) -> dict:
    try:
        # JSON models begin with '{"' or '{' and white space; in UBJSON a length marker follows the brace.
        return json.loads(raw) if raw[:2] in (b'{"', b"{\n", b"{ ") else decode_ubjson(raw)
    except (ValueError, IndexError, UnicodeDecodeError, RecursionError) as error:
        raise ProgramError(f"not an XGBoost model in JSON or UBJSON: {error}") from None


def _read(model: dict, feature_names: tuple[str, ...]) -> XGBoostModel:
    learner = _get(model, "learner", "the model")
    trees = _get(_get(learner, "gradient_booster", "learner"), "model", "gradient_booster").get("trees")
    if trees is None:
        raise ProgramError("only the boosters gbtree (and dart saved as gbtree) can be read; there are no trees in this model")
    count = int(_get(_get(learner, "learner_model_param", "learner"), "num_feature", "learner_model_param"))
    if count != len(feature_names):
        raise ProgramError(f"the model has {count} features, the schema {len(feature_names)}: train it on the schema's columns")
    stored = tuple(learner.get("feature_names") or ())
    if stored and stored != feature_names:
        raise ProgramError("the model's feature names or their order differ from the schema's")
    base = float(np.float32(_base_margin(learner)))
    return XGBoostModel(tuple(_tree(tree, number, count) for number, tree in enumerate(trees)), base)


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
    if not (0 < base < 1 if is_probability else abs(base) <= np.finfo(np.float32).max):
        raise ProgramError(f"base_score {base} is not {'a probability above 0 and below 1' if is_probability else 'finite'}")
    return math.log(base / (1 - base)) if is_probability else base


def _tree(tree: dict, number: int, features: int) -> Tree:
    if len(tree.get("categories", ())) or np.any(np.asarray(tree.get("split_type", ()))):
        raise ProgramError(f"tree {number} has categorical splits, which are not supported; encode the feature as numbers")
    if tree.get("tree_param", {}).get("size_leaf_vector", "1") not in ("0", "1"):
        raise ProgramError(f"tree {number} has vector leaves, which are not supported")
    left, right, feature, condition, default_left, cover = _columns(tree, number)
    levels = _levels(left, right, number)
    order = np.concatenate(levels)
    left, right, feature, condition = left[order], right[order], feature[order], condition[order]
    inner = left >= 0
    outside = inner & ((feature < 0) | (feature >= features))
    if outside.any():
        raise ProgramError(f"tree {number} tests feature {feature[outside][0]}, but there are {features}")
    here = np.arange(len(order))
    below = np.where(inner, 2 * np.cumsum(inner) - 1, here)  # each inner node adds two nodes behind all before them
    return Tree(
        number=number,
        feature=np.where(inner, feature, -1).astype(np.int32),
        threshold=np.where(inner, condition, np.float32(0)),
        default_left=inner & (default_left[order] != 0),
        left=below.astype(np.int32),
        value=_means(below, inner, condition, cover[order], number),
        cover=cover[order],
        depth=len(levels) - 1,
    )


def _columns(tree: dict, number: int) -> list[np.ndarray]:
    """Return left, right, feature, threshold (or leaf value), default_left and cover, one number a node each."""
    kinds = {
        "left_children": np.int64, "right_children": np.int64, "split_indices": np.int64,
        "split_conditions": np.float32, "default_left": np.int64, "sum_hessian": np.float64,
    }  # fmt: skip
    with np.errstate(over="ignore"):
        columns = [np.asarray(tree[name], kind) for name, kind in kinds.items()]
    if columns[0].ndim != 1 or not len(columns[0]) or any(column.shape != columns[0].shape for column in columns):
        raise ProgramError(f"tree {number} is damaged: its columns differ in length")
    left, _, _, condition, _, cover = columns
    if np.isnan(condition).any() or not np.isfinite(condition[left < 0]).all() or not np.isfinite(cover).all() or cover.min() < 0:
        raise ProgramError(f"tree {number} is damaged: a threshold, a leaf or a cover is not a number that it can be")
    largest = np.abs(condition[left < 0]).max(initial=0)
    if largest >= LEAF_LIMIT:
        raise ProgramError(f"tree {number} has a leaf of {largest:g}; leaves must be below 2**30 in size: scale the target down")
    return columns


def _levels(left: np.ndarray, right: np.ndarray, number: int) -> list[np.ndarray]:
    """Return the reachable nodes of each level, so that siblings are neighbours."""
    reached = np.zeros(len(left), bool)
    reached[0] = True
    levels = [np.zeros(1, np.int64)]
    while True:
        inner = levels[-1][left[levels[-1]] >= 0]
        if not len(inner):
            return levels
        children = np.stack([left[inner], right[inner]], axis=1).ravel()
        inside = children.min() >= 0 and children.max() < len(left)
        if not inside or reached[children].any() or len(np.unique(children)) < len(children):
            raise ProgramError(f"tree {number} is not a tree: a child is shared or out of range")
        reached[children] = True
        levels.append(children)


def _means(left: np.ndarray, inner: np.ndarray, leaf: np.ndarray, cover: np.ndarray, number: int) -> np.ndarray:
    """Return each leaf's value and each inner node's mean of the leaves below, weighted by cover."""
    mean = leaf.astype(np.float64)
    for node in np.flatnonzero(inner)[::-1]:
        a, b = left[node], left[node] + 1
        total = (cover[a] + cover[b]) or 1.0
        mean[node] = (mean[a] * cover[a] + mean[b] * cover[b]) / total
    if not np.isfinite(mean).all():
        raise ProgramError(f"tree {number} is damaged: its covers are too large")
    return mean
