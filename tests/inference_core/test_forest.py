"""Reading XGBoost's files: the same model in both formats, and a clear refusal of everything else."""

from __future__ import annotations

import copy
import functools
import json
import math
import struct

import numpy as np
import pytest
import xgboost
from hypothesis import given
from hypothesis import strategies as st

from inference_core import Forest, ProgramError
from inference_core.ubjson import decode_ubjson
from tests.strategies import examples

NAMES = ("a", "b", "c")


@functools.cache
def trained(objective: str = "binary:logistic", **parameters) -> xgboost.Booster:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 3)).astype(np.float32)
    x[rng.random(x.shape) < 0.2] = np.nan
    y = (np.nan_to_num(x[:, 0]) + np.nan_to_num(x[:, 1]) > 0.3).astype(int)
    matrix = xgboost.DMatrix(x, y, feature_names=list(NAMES))
    tree = {} if parameters.get("booster") == "gblinear" else {"max_depth": 3}
    return xgboost.train({"objective": objective, "nthread": 1} | tree | parameters, matrix, 4)


@functools.cache
def saved(form: str) -> bytes:
    return bytes(trained().save_raw(form))


def model() -> dict:
    """Return the model as a document that a test may change."""
    return copy.deepcopy(json.loads(saved("json")))


def read(document: dict, names=NAMES) -> Forest:
    return Forest.from_xgboost(json.dumps(document).encode(), names)


PROBE = np.array([[0.1, np.nan, -0.4], [np.inf, -np.inf, 0], [np.nan] * 3], np.float32)


@pytest.mark.parametrize("objective", ["binary:logistic", "binary:logitraw", "reg:squarederror", "reg:logistic"])
@pytest.mark.parametrize("form", ["ubj", "json"])
def test_margins_of_each_objective_that_can_be_read(objective, form):
    booster = trained(objective, base_score=0.3)
    ours = Forest.from_xgboost(bytes(booster.save_raw(form)), NAMES)
    theirs = booster.predict(xgboost.DMatrix(PROBE[[0, 2]], feature_names=list(NAMES)), output_margin=True)
    np.testing.assert_allclose(ours.margins(PROBE[[0, 2]]), theirs, rtol=1e-5, atol=1e-6)


def test_both_formats_hold_the_same_document():
    def plain(value):
        if isinstance(value, dict):
            return {name: plain(item) for name, item in value.items()}
        if isinstance(value, list | np.ndarray):
            return [plain(item) for item in value]
        if isinstance(value, float | np.floating):
            return float(np.float32(value))
        return int(value) if isinstance(value, np.integer | bool) else value

    assert plain(decode_ubjson(saved("ubj"))) == plain(json.loads(saved("json")))


def test_early_stopping_or_not_all_trees_are_read():
    assert Forest.from_xgboost(saved("ubj"), NAMES).tree_count == 4


# --- refusals ------------------------------------------------------------------------------------------------------------


def test_other_features_than_the_model_s_are_refused():
    with pytest.raises(ProgramError, match="3 features, the schema 2"):
        Forest.from_xgboost(saved("ubj"), ("a", "b"))
    with pytest.raises(ProgramError, match="order"):
        Forest.from_xgboost(saved("ubj"), ("b", "a", "c"))


def test_a_model_of_several_classes_is_refused():
    matrix = xgboost.DMatrix(np.arange(30.0).reshape(10, 3), np.arange(10) % 3)
    booster = xgboost.train({"objective": "multi:softprob", "num_class": 3, "nthread": 1}, matrix, 2)
    with pytest.raises(ProgramError, match="objective 'multi:softprob' is not supported"):
        Forest.from_xgboost(bytes(booster.save_raw("ubj")), NAMES)


def test_a_model_of_several_outputs_is_refused():
    matrix = xgboost.DMatrix(np.arange(30.0).reshape(10, 3), np.arange(20.0).reshape(10, 2))
    booster = xgboost.train({"objective": "reg:squarederror", "nthread": 1}, matrix, 2)
    with pytest.raises(ProgramError, match="several outputs"):
        Forest.from_xgboost(bytes(booster.save_raw("ubj")), NAMES)


def test_categorical_splits_are_refused():
    x = np.random.default_rng(0).integers(0, 6, (200, 3)).astype(np.float32)
    matrix = xgboost.DMatrix(x, x[:, 0] % 2, feature_types=["c", "q", "q"], enable_categorical=True)
    booster = xgboost.train({"objective": "binary:logistic", "nthread": 1, "max_cat_to_onehot": 1}, matrix, 3)
    with pytest.raises(ProgramError, match="categorical"):
        Forest.from_xgboost(bytes(booster.save_raw("ubj")), NAMES)


@pytest.mark.parametrize("booster", ["gblinear", "dart"])
def test_other_boosters_are_refused(booster):
    raw = bytes(trained(booster=booster).save_raw("ubj"))
    with pytest.raises(ProgramError, match="gbtree|no 'model'|not an XGBoost model"):
        Forest.from_xgboost(raw, NAMES)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"{}",
        b"[]",
        b"null",
        b"7",
        b'{"learner":[]}',
        b'{"learner":{"gradient_booster":3}}',
        b'{"a":' * 5000,
        b"\xff" * 50,
        b"{" * 5000,
    ],
)
def test_what_is_no_model_is_refused(raw):
    with pytest.raises(ProgramError):
        Forest.from_xgboost(raw, NAMES)


def _tree(document: dict) -> dict:
    return document["learner"]["gradient_booster"]["model"]["trees"][0]


def _share_a_child(document: dict) -> None:
    """Two inner nodes name the same two children, as no tree does."""
    tree = _tree(document)
    inner = [i for i, left in enumerate(tree["left_children"]) if left >= 0 and i]
    first, second = inner[:2]
    tree["left_children"][first], tree["right_children"][first] = tree["left_children"][second], tree["right_children"][second]


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: _tree(d)["left_children"].__setitem__(0, 0),
        lambda d: _tree(d)["left_children"].__setitem__(0, 10**6),
        lambda d: _tree(d)["left_children"].__setitem__(0, 2**40),
        lambda d: _tree(d)["right_children"].__setitem__(0, -1),
        lambda d: _tree(d)["right_children"].__setitem__(0, _tree(d)["left_children"][0]),
        _share_a_child,
        lambda d: _tree(d)["split_indices"].__setitem__(0, 3),
        lambda d: _tree(d)["split_indices"].__setitem__(0, -1),
        lambda d: _tree(d)["split_indices"].pop(),
        lambda d: _tree(d)["split_conditions"].pop(),
        lambda d: _tree(d)["sum_hessian"].clear(),
        lambda d: _tree(d).pop("default_left"),
        lambda d: _tree(d)["split_conditions"].__setitem__(0, "x"),
        lambda d: _tree(d)["split_conditions"].__setitem__(0, None),
        lambda d: _tree(d)["left_children"].__setitem__(0, [1, 2]),
        lambda d: _tree(d)["tree_param"].__setitem__("size_leaf_vector", "3"),
        lambda d: _tree(d).__setitem__("tree_param", 5),
        lambda d: d["learner"]["gradient_booster"]["model"].__setitem__("trees", 5),
        lambda d: d["learner"]["gradient_booster"]["model"]["trees"].__setitem__(0, None),
        lambda d: d["learner"]["gradient_booster"].__setitem__("model", []),
        lambda d: d["learner"]["learner_model_param"].__setitem__("num_feature", "three"),
        lambda d: d["learner"]["learner_model_param"].pop("base_score"),
        lambda d: d["learner"]["learner_model_param"].__setitem__("base_score", "0"),
        lambda d: d["learner"]["learner_model_param"].__setitem__("base_score", "1"),
        lambda d: d["learner"]["learner_model_param"].__setitem__("base_score", "nan"),
        lambda d: d["learner"]["learner_model_param"].__setitem__("base_score", "2"),
        lambda d: d["learner"]["learner_model_param"].__setitem__("num_class", "x"),
        lambda d: d["learner"].__setitem__("feature_names", 3),
        lambda d: d["learner"].__setitem__("feature_names", {"a": 1}),
        lambda d: d["learner"].__setitem__("objective", "binary:logistic"),
        lambda d: d["learner"]["objective"].__setitem__("name", ["binary:logistic"]),
    ],
)
def test_a_damaged_part_is_refused(damage):
    document = model()
    assert read(document).tree_count == 4, "sound before"
    damage(document)
    with pytest.raises(ProgramError) as refused:
        read(document)
    assert len(str(refused.value)) > 10


def _accept_or_refuse(raw: bytes) -> bool:
    """Whatever the bytes say: a ProgramError, or a forest that can be run to its end."""
    try:
        forest = Forest.from_xgboost(raw, NAMES)
    except ProgramError:
        return False
    assert np.isfinite(forest.margins(PROBE)).all() and np.isfinite(forest.bias)
    return True


@examples(600)
@given(st.sampled_from(["ubj", "json"]), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=3))
def test_changed_bytes_never_crash(form, changes):
    raw = bytearray(saved(form))
    for position, value in changes:
        raw[position % len(raw)] = value
    _accept_or_refuse(bytes(raw))


@examples(120)
@given(st.sampled_from(["ubj", "json"]), st.integers(0, 10**6), st.binary(max_size=8))
def test_cut_or_extended_files_are_refused(form, position, tail):
    raw = saved(form)
    cut = raw[: position % len(raw)]
    assert not _accept_or_refuse(cut)
    if tail.strip():
        assert not _accept_or_refuse(raw + tail)


@examples(200)
@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_refused(raw):
    assert not _accept_or_refuse(raw)
    assert not _accept_or_refuse(b"{" + raw)


_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 60),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=3),
    st.just([]),
    st.just({}),
)


@examples(400)
@given(st.data())
def test_any_value_in_any_place_never_crashes(data):
    document = model()
    at = document
    while True:
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if isinstance(at[key], dict | list) and at[key] and data.draw(st.integers(0, 4)):
            at = at[key]
            continue
        at[key] = data.draw(_LEAVES)
        break
    _accept_or_refuse(json.dumps(document).encode())


# --- UBJSON --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"i\xff", -1),
        (b"U\xff", 255),
        (b"I\x01\x00", 256),
        (b"l\x00\x01\x00\x00", 65536),
        (b"L" + struct.pack(">q", -(2**40)), -(2**40)),
        (b"d" + struct.pack(">f", 0.5), 0.5),
        (b"D" + struct.pack(">d", 0.1), 0.1),
        (b"Si\x02hi", "hi"),
        (b"Cx", "x"),
        (b"T", True),
        (b"F", False),
        (b"Z", None),
        (b"[]", []),
        (b"{}", {}),
        (b"[i\x01i\x02]", [1, 2]),
        (b"[#i\x02i\x01T", [1, True]),
        (b"{i\x01ai\x05}", {"a": 5}),
        (b"{#i\x01i\x01ai\x05", {"a": 5}),
        (b"{$i#i\x01i\x01a\x05", {"a": 5}),
        (b"[$T#i\x03", [True] * 3),
    ],
)
def test_ubjson_values(raw, value):
    assert decode_ubjson(raw) == value


def test_typed_arrays_become_native_numpy_arrays():
    value = decode_ubjson(b"[$d#i\x02" + struct.pack(">2f", 1.5, math.inf))
    assert value.dtype == np.dtype("=f4") and value.tolist() == [1.5, math.inf]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"i",
        b"l\x00",
        b"S",
        b"Si\x05hi",
        b"SZ",
        b"Si\xff",
        b"[",
        b"[i",
        b"[$",
        b"[$i",
        b"[$i#",
        b"[$i#i\x05\x00",
        b"[$i]",
        b"{i\x01a",
        b"{#i\x02i\x01ai\x05",
        b"x",
        b"T ",
        b"TT",
        b"[" * 100,
        b"[$L#L\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"Si\x01\xff",
        b"C\xff",
        b"[#i\xff",
        b"{$",
        b"{$i#",
        b"[$[#i\x02]",
    ],
)
def test_damaged_ubjson_is_refused(raw):
    with pytest.raises(ValueError):
        decode_ubjson(raw)
