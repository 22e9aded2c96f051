"""Answers from arrays: what they say, that C and the reference agree on every byte, and what is refused."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import KernelInputError
from kernels.render_answers import AnswerColumns, AnswerForm, render_answers
from kernels.render_answers import reference as reference_of
from tests.kernels.answer_samples import FIRST_US, LAST_US, STAMPS, columns, columns_of, form_json, forms
from tests.strategies import examples


def form_of(**changes) -> AnswerForm:
    return AnswerForm.from_json(form_json(**changes))


def only(form: AnswerForm, **changes) -> dict:
    """The one answer of columns with these changes, from C and from the reference alike."""
    of = columns_of(form, 1, **changes)
    answers = list(render_answers(form, of))
    assert b"".join(answers) == reference_of.render(form, of)[0]
    return json.loads(answers[0])


def array(dtype: type, *values: float) -> np.ndarray:
    return np.array(values, dtype)


# --- both are one ------------------------------------------------------------------------------------------------------


@examples(150)
@given(st.data())
def test_c_and_reference_write_the_same_bytes(data):
    form = data.draw(forms())
    of = data.draw(columns(form))
    rendered = render_answers(form, of)
    truth, ends = reference_of.render(form, of)
    assert rendered.buffer == truth
    assert rendered.ends.tolist() == ends.tolist()
    longest = max((len(answer) for answer in rendered), default=0)
    assert longest <= form.native.row_bound + 64, "the room that C takes for an answer is too small"


@pytest.mark.parametrize("rows", [0, 1, 1_023, 1_024, 1_025, 2_100])
def test_any_number_of_rows(rows):
    form = form_of(rules=9)
    of = columns_of(form, rows)
    rendered = render_answers(form, of)
    truth, ends = reference_of.render(form, of)
    assert rendered.buffer == truth and rendered.ends.tolist() == ends.tolist()
    assert len(rendered) == len(list(rendered)) == rows


def test_a_stored_form_renders_the_same_bytes():
    form = form_of(rules=5)
    # A jsonb column sorts the keys of objects.
    stored = json.loads(json.dumps(form.to_json(), sort_keys=True))
    of = columns_of(form, 20)
    assert render_answers(AnswerForm.from_json(stored), of).buffer == render_answers(form, of).buffer


def test_a_stored_form_is_the_same_and_another_is_not():
    form = form_of()
    stored = AnswerForm.from_json(json.loads(json.dumps(form.to_json(), sort_keys=True)))
    assert stored.to_json() == form.to_json()
    order = form_of(versions={"ruleset": "r1", "program": "p1", "model": None, "build": 3})
    others = (form, order, form_of(max_reasons=3), form_of(normal="usual"))
    assert len({json.dumps(other.to_json(), sort_keys=True) for other in others}) == 4


def test_without_a_compiler_the_reference_does_the_work(monkeypatch):
    form = form_of()
    of = columns_of(form, 30)
    compiled = render_answers(form, of)
    monkeypatch.setattr("kernels.render_answers.library", lambda: None)
    monkeypatch.setattr(AnswerForm, "native", property(lambda form: pytest.fail("C was called")))
    found = render_answers(form, of)
    assert found.buffer == compiled.buffer and found.ends.tolist() == compiled.ends.tolist()


def test_the_bytes_of_version_1_stay_as_they_are():
    form = form_of(rules=2, units=["minor units", "0 or 1"])
    of = columns_of(
        form, 1,
        probability=array(np.float64, 0.1234565), occurred_us=array(np.int64, 1_769_000_000_000_001),
        received_us=array(np.int64, 1_769_000_000_250_000), score=array(np.int32, 123),
        top_features=np.array([[0, 1]], np.int32), top_contributions=np.array([[1.25, 0.3]], np.float32),
        top_values=np.array([[123456.0, 0.0]], np.float32), stamps=array(np.uint32, 4), queue_us=array(np.uint32, 7),
        features_us=array(np.uint32, 80), program_us=array(np.uint32, 900), outcome=array(np.uint8, 3),
        rule_codes=np.array([[2, 1]], np.uint8),
    )  # fmt: skip
    assert render_answers(form, of).buffer.decode() == (
        '{"decision_id":"000000000000000000000000000000000000","transaction_id":"tx-0-0","status":"new","outcome":"hold",'
        '"score":123,"probability":0.123456,"reasons":['
        '{"code":"model.f0","source":"model","text":"What has minor units: 1,234.56","weight":1.25,"feature":"f0",'
        '"value":123456.0},'
        '{"code":"rule.r1","source":"rule","text":"Rule 1 was hit","weight":0.5,"rule_id":"r1"},'
        '{"code":"model.f1","source":"model","text":"Not: what has 0 or 1","weight":0.3,"feature":"f1","value":0.0}],'
        '"rules":[{"rule_id":"r0","outcome":"insufficient_history"},{"rule_id":"r1","outcome":"hit"}],"degraded":true,'
        '"mode":"late_event","stamps":["late_event"],"versions":{"program":"p1","ruleset":"r1","model":null,"build":3},'
        '"timing_us":{"queue":7,"features":80,"program":900},"occurred_at":"2026-01-21T12:53:20.000001Z",'
        '"received_at":"2026-01-21T12:53:20.250000Z"}'
    )


# --- what is said ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "value", "said"),
    [
        ("minor units", 123_456_789.0, "1,234,567.92"),
        ("minor units", 99_950.0, "999.50"),
        ("minor units", -12_345.0, "-123.45"),
        ("minor units", -0.4, "0.00"),
        ("minor units", 5.5, "0.06"),
        ("minor units", 1e20, "1,000,000,020,040,877,342.72"),
        ("seconds", 0.5, "0 seconds"),
        ("seconds", 119.0, "119 seconds"),
        ("seconds", 120.0, "2 minutes"),
        ("seconds", 7_199.0, "120 minutes"),
        ("seconds", 7_200.0, "2 hours"),
        ("seconds", 172_800.0, "2 days"),
        ("seconds", 1e15, "11574073924 days"),
        ("share", 0.125, "12.5%"),
        ("share", 1.0, "100.0%"),
        ("share", 0.0005, "0.1%"),
        ("share", 2.0**126, "8507059173023461586584365185794205286400.0%"),
        ("times", 2.25, "2.2 times"),
        ("times", 2.75, "2.8 times"),
        ("count", 7.0, "7"),
        ("count", 2.5, "2"),
        ("count", -0.2, "0"),
        ("hours", 23.0, "23"),
        ("day number", 6.0, "6"),
        ("code", 5411.0, "5411"),
        ("standard deviations", -1.25, "-1.2"),
        ("standard deviations", -0.01, "0.0"),
        ("standard deviations", float(np.finfo(np.float32).max), "340282346638528859811704183484516925440.0"),
        ("count", math.nan, "not known"),
        ("count", math.inf, "not known"),
        ("count", -math.inf, "not known"),
        ("0 or 1", math.nan, "not known"),
    ],
)
def test_values_are_put_in_words(unit, value, said):
    form = form_of(rules=0, units=[unit])
    one = np.array([[1.0]], np.float32)
    answer = only(
        form, top=1, top_features=np.array([[0]], np.int32), top_contributions=one, top_values=np.float32(value) * one,
        probability=array(np.float64, 0.5),
    )  # fmt: skip
    assert answer["reasons"][0]["text"] == f"What has {unit}: {said}"


@pytest.mark.parametrize(
    ("value", "said"), [(1.0, "What has 0 or 1"), (0.0, "Not: what has 0 or 1"), (-0.0, "Not: what has 0 or 1")]
)
def test_a_flag_is_said_without_a_number(value, said):
    form = form_of(rules=0, units=["0 or 1"])
    answer = only(
        form, top=1, top_features=np.array([[0]], np.int32), top_contributions=np.array([[1.0]], np.float32),
        top_values=np.array([[value]], np.float32), probability=array(np.float64, 0.5),
    )  # fmt: skip
    assert answer["reasons"][0]["text"] == said


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.05, "0.05"), (12.0, "12.0"), (0.00005, "0.0"), (1 / 32, "0.0312"), (3 / 32, "0.0938"),
        (-0.0, "0.0"), (-1e-9, "0.0"), (-2.5, "-2.5"),
        (0.1, "0.1"), (1e-4, "0.0001"), (1.00005, "1.0"), (2.0**24, "16777216.0"), (2.0**22 + 0.5, "4194304.5"),
        (2.0**32, "4294967296.0"),
        (-(2.0**127), "-170141183460469231731687303715884105728.0"), (math.nan, "null"), (math.inf, "null"),
    ],
)  # fmt: skip
def test_values_are_written_to_four_decimals(value, written):
    form = form_of(rules=0, units=["count"])
    of = columns_of(
        form, 1, top=1, top_features=np.array([[0]], np.int32), top_contributions=np.array([[1.0]], np.float32),
        top_values=np.array([[value]], np.float32),
    )  # fmt: skip
    assert f'"value":{written}}}'.encode() in render_answers(form, of).buffer


@pytest.mark.parametrize(
    ("probability", "written"),
    [(math.nan, "null"), (0.0, "0.0"), (-0.0, "0.0"), (1.0, "1.0"), (1e-6, "0.000001"), (4e-7, "0.0"), (0.5, "0.5"),
     (0.9999996, "1.0"), (5e-7, "0.0"), (0.25, "0.25")],
)  # fmt: skip
def test_probabilities_are_written_to_six_decimals(probability, written):
    form = form_of()
    buffer = render_answers(form, columns_of(form, 1, probability=array(np.float64, probability))).buffer
    assert f'"probability":{written},"reasons"'.encode() in buffer


@examples(60)
@given(st.integers(FIRST_US, LAST_US) | st.sampled_from([FIRST_US, LAST_US, 0, -1]))
def test_moments_are_written_as_the_standard_library_does(us):
    truth = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)).isoformat(timespec="microseconds")
    assert only(form_of(), occurred_us=array(np.int64, us))["occurred_at"] == truth.replace("+00:00", "Z")


def test_reasons_are_the_strongest_of_both_kinds():
    form = form_of(rules=4)  # weights 0.0, 0.5, 1.0 and 1.5
    answer = only(
        form, probability=array(np.float64, math.nan), rule_codes=np.array([[1, 1, 1, 0]], np.uint8),
        top_features=np.array([[4, 5, 6, 7]], np.int32), top_values=np.ones((1, 4), np.float32),
        top_contributions=np.array([[2.0, 1.00004, 0.5, 0.04]], np.float32),
    )  # fmt: skip
    # 1.00004 rounds to 1.0: the rule of the same weight comes first.
    assert [(reason["code"], reason["weight"]) for reason in answer["reasons"]] == [
        ("model.f4", 2.0), ("rule.r2", 1.0), ("model.f5", 1.0), ("rule.r1", 0.5),
    ]  # fmt: skip


def test_contributions_count_until_the_first_small_one():
    form = form_of(rules=0)
    contributions = np.array([[1.0, 0.049, 0.9, 0.8], [np.nan, 1.0, 1.0, 1.0], [0.05, 0.05, 0.05, -1.0]], np.float32)
    # What does not count is not read: top_values marks it with the column -1.
    features = np.array([[0, -1, -1, -1], [-1, -1, -1, -1], [1, 2, 3, 99]], np.int32)
    of = columns_of(form, 3, top_features=features, top_contributions=contributions, probability=np.full(3, 0.5))
    found = [[reason["feature"] for reason in json.loads(answer)["reasons"]] for answer in render_answers(form, of)]
    assert found == [["f0"], [], ["f1", "f2", "f3"]]


def test_a_missing_probability_is_a_reason():
    answer = only(form_of(rules=0), probability=array(np.float64, math.nan), top_contributions=np.zeros((1, 4), np.float32))
    assert answer["reasons"] == [{"code": "policy.none", "source": "policy", "text": "No probability", "weight": 0.01}]


@pytest.mark.parametrize(
    ("bits", "mode", "degraded"),
    [(0, "normal", False), (1, "rules_only", True), (8, "backfill", False), (9, "rules_only", True), (12, "late_event", True),
     (15, "rules_only", True)],
)  # fmt: skip
def test_the_gravest_stamp_is_the_mode(bits, mode, degraded):
    answer = only(form_of(), stamps=array(np.uint32, bits))
    assert (answer["mode"], answer["degraded"]) == (mode, degraded)
    assert answer["stamps"] == [stamp for bit, stamp in enumerate(STAMPS) if bits >> bit & 1]


def test_all_32_stamps_fit():
    form = form_of(stamps=[f"s{i}" for i in range(32)], not_degraded=[])
    answer = only(form, stamps=array(np.uint32, 2**32 - 1))
    assert answer["stamps"] == [f"s{i}" for i in range(32)]


def test_every_rule_says_its_outcome():
    codes = [0, 1, 2, 3, 1, 0, 3]
    answer = only(form_of(rules=7), rule_codes=np.array([codes], np.uint8))
    words = form_json()["rule_outcomes"]
    assert answer["rules"] == [{"rule_id": f"r{i}", "outcome": words[code]} for i, code in enumerate(codes)]


# --- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["compiled", "reference"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outcome": array(np.uint8, 0, 5)}, "outcome must be one of the codes 0 to 4; row 1 is not"),
        ({"rule_codes": np.array([[0, 0, 4], [0, 0, 0]], np.uint8)}, "rule_codes must be codes 0 to 3; row 0 is not"),
        ({"stamps": array(np.uint32, 0, 16)}, "stamps must be bits below 4; row 1 is not"),
        ({"probability": array(np.float64, 0.5, 1.0000001)}, "probability must be NaN or from 0 to 1; row 1 is not"),
        ({"probability": array(np.float64, -math.inf, 1)}, "probability must be NaN or from 0 to 1; row 0 is not"),
        ({"occurred_us": array(np.int64, LAST_US + 1, 0)}, "occurred_us must be within the years 1 to 9999; row 0 is not"),
        ({"received_us": array(np.int64, 0, FIRST_US - 1)}, "received_us must be within the years 1 to 9999; row 1 is not"),
        ({"id_starts": array(np.int32, 0, -1)}, "id_starts, id_lengths must be a part of text; row 1 is not"),
        ({"id_lengths": array(np.int32, 2_000_000_000, 1)}, "id_starts, id_lengths must be a part of text; row 0 is not"),
        ({"id_lengths": array(np.int32, 1, 0)}, "id_starts, id_lengths must be a part of text; row 1 is not"),
        ({"top_features": np.full((2, 4), 10, np.int32)}, "top_features must be columns 0 to 9; row 0 is not"),
        ({"top_features": np.full((2, 4), -1, np.int32)}, "top_features must be columns 0 to 9; row 0 is not"),
        ({"top_contributions": np.full((2, 4), np.inf, np.float32)}, "top_contributions must be finite where they count; row 0"),
        ({"text": b'["x-0-0tx-0-1]', "id_starts": array(np.int32, 1, 2)}, "the id of row 0 in text must be printable ASCII"),
        ({"text": "[\u00e4x-0-0tx-0-1]".encode()}, "the id of row 0 in text must be printable ASCII without quotes"),
        ({"decision_ids": b"0" * 36 + b"\\" + b"0" * 35}, "the id of row 1 in decision_ids must be printable ASCII"),
        ({"decision_ids": b"0" * 71}, "decision_ids must be 36 bytes for each of 2; got 71"),
        ({"decision_ids": "0" * 72}, "decision_ids must be bytes; got str"),
        ({"text": memoryview(b"abcdefghijklmnopqrst")}, "text must be bytes; got memoryview"),
        ({"score": array(np.int64, 1, 2)}, r"score must be C-contiguous int32 \(2,\); got int64"),
        ({"queue_us": [1, 2]}, r"queue_us must be C-contiguous uint32 \(2,\); got list"),
        ({"program_us": array(np.uint32, 1)}, r"program_us must be C-contiguous uint32 \(2,\); got uint32 \(1,\)"),
        ({"probability": array(np.float64, 0.5)}, r"must be C-contiguous"),
        ({"rule_codes": np.zeros((2, 4), np.uint8)}, r"rule_codes must be C-contiguous uint8 \(2, 3\)"),
        ({"rule_codes": np.zeros((3, 2), np.uint8).T}, r"rule_codes must be C-contiguous uint8 \(2, 3\)"),
        ({"top_values": np.zeros((2, 3), np.float32)}, r"top_values must be C-contiguous float32 \(2, 4\)"),
        ({"top_features": np.zeros(2, np.int32)}, r"must be C-contiguous|must be \[n, K\]"),
        ({"top_features": None}, "top_features must be"),
    ],
)  # fmt: skip
def test_columns_that_do_not_fit_are_refused(changes, message, which, monkeypatch):
    form = form_of()
    of = columns_of(form, 2, top_contributions=np.ones((2, 4), np.float32))._replace(**changes)
    if which == "reference":
        monkeypatch.setattr("kernels.render_answers.library", lambda: None)
    with pytest.raises(KernelInputError, match=message):
        render_answers(form, of)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "an answer form of version 1 is read here; got 2"),
        ({"colour": "red"}, "an answer form has keys that are not known: 'colour'"),
        ({"outcomes": []}, "outcomes must be 1 to 256 words; got 0"),
        ({"outcomes": ["a", "a"]}, "outcomes holds a word twice"),
        ({"outcomes": "approve"}, "outcomes must be a list; got 'approve'"),
        ({"outcomes": [1]}, "outcomes must be text; got 1"),
        ({"stamps": [f"s{i}" for i in range(33)]}, "stamps must be 0 to 32 words; got 33"),
        ({"not_degraded": ["x"]}, "not_degraded names what is no stamp: x"),
        ({"hit": 4}, "hit must be a code of rule_outcomes; got 4"),
        ({"no_hit": True}, "no_hit must be a whole number; got True"),
        ({"max_reasons": 17}, "max_reasons must be 1 to 16; got 17"),
        ({"least_contribution": math.nan}, "least_contribution must be above 0; got nan"),
        ({"least_contribution": "0.05"}, "least_contribution must be a number; got '0.05'"),
        ({"normal": "\ud800"}, "normal holds half a surrogate pair"),
        ({"versions": {"program": 1.5}}, "versions.program must be text; got 1.5"),
        ({"versions": ["program"]}, "versions must be an object or a list of pairs"),
        ({"versions": [["a", 1], ["a", 2]]}, "versions holds a word twice"),
        ({"features": [{"name": "f", "unit": "count", "text": ""}]}, "each feature needs a text"),
        ({"features": [{"name": "f", "unit": "count"}]}, "an entry of features lacks text"),
        ({"features": ["f"]}, "features must hold objects; got 'f'"),
        ({"no_probability": {"code": "c", "source": "s", "text": "t", "weight": math.inf}}, "the weight of 'c' must lie within"),
    ],
)
def test_forms_that_cannot_be_are_refused(changes, message):
    with pytest.raises(KernelInputError, match=message):
        form_of(**changes)


def test_a_form_that_lacks_something_is_refused():
    given = form_json()
    del given["stamps"]
    with pytest.raises(KernelInputError, match="an answer form lacks stamps"):
        AnswerForm.from_json(given)


def test_fields_stand_in_the_order_in_which_c_reads_them():
    from kernels.render_answers.columns import DTYPES

    assert len(DTYPES) == len(AnswerColumns._fields) - 2
    sizes = [dtype.itemsize for dtype in DTYPES]
    assert sizes == sorted(sizes, reverse=True), "an array would not be aligned"
