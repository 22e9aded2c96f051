"""Answer forms and columns: drawn by hypothesis, and a plain one for those who need any."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kernels.render_answers import AnswerColumns, AnswerForm

STAMPS = ["rules_only", "degraded_model", "late_event", "backfill"]
UNITS = ["minor units", "seconds", "share", "times", "count", "hours", "day number", "code", "0 or 1", "standard deviations"]
FIRST_US, LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999

_escaped = st.sampled_from(['a "b" \\c', "\x00\x1f\x7f\u2028", "ß", "\U0001f600"])
_texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8) | _escaped
_tokens = st.text("abcXYZ019._:-", min_size=1, max_size=64)


def form_json(rules: int = 3, units: list[str] = UNITS, **changes: Any) -> dict[str, Any]:
    """A form with so many rules and one feature a unit."""
    return {
        "version": 1,
        "outcomes": ["approve", "step_up", "review", "hold", "decline"],
        "rules": [
            {"rule_id": f"r{i}", "code": f"rule.r{i}", "source": "rule", "text": f"Rule {i} was hit", "weight": 0.5 * i}
            for i in range(rules)
        ],
        "rule_outcomes": ["no_hit", "hit", "insufficient_history", "error"],
        "hit": 1,
        "no_hit": 0,
        "features": [{"name": f"f{i}", "unit": unit, "text": f"what has {unit}"} for i, unit in enumerate(units)],
        "versions": {"program": "p1", "ruleset": "r1", "model": None, "build": 3},
        "stamps": STAMPS,
        "normal": "normal",
        "not_degraded": ["backfill"],
        "no_probability": {"code": "policy.none", "source": "policy", "text": "No probability", "weight": 0.01},
        "least_contribution": 0.05,
        "max_reasons": 4,
    } | changes


def columns_of(form: AnswerForm, rows: int, top: int = 4, seed: int = 0, **changes: Any) -> AnswerColumns:
    """Random, well-formed columns for so many decisions."""
    rng = np.random.default_rng(seed)
    ids = [f"tx-{seed}-{row}".encode() for row in range(rows)]
    lengths = np.array([len(name) for name in ids], np.int32)
    features = max(len(form.features), 1)
    contributions = np.sort(rng.normal(0, 1, (rows, top)), axis=1)[:, ::-1]
    values = rng.choice([np.nan, 0.0, 1.0, 12.5, 1234567.0, -3.25], (rows, top))
    codes = rng.integers(0, len(form.rule_outcomes), (rows, len(form.rules)))
    columns = AnswerColumns(
        decision_ids=b"".join(b"%036d" % row for row in range(rows)),
        text=b"[" + b"".join(ids) + b"]",
        probability=np.where(rng.random(rows) < 0.2, np.nan, rng.random(rows)),
        occurred_us=rng.integers(FIRST_US, LAST_US, rows),
        received_us=rng.integers(1_700_000_000_000_000, 1_800_000_000_000_000, rows),
        id_starts=(np.cumsum(lengths) - lengths + 1).astype(np.int32),
        id_lengths=lengths,
        score=rng.integers(0, 1001, rows).astype(np.int32),
        top_features=rng.integers(0, features, (rows, top)).astype(np.int32),
        top_contributions=(contributions if form.features else np.zeros_like(contributions)).astype(np.float32),
        top_values=values.astype(np.float32),
        stamps=np.where(rng.random(rows) < 0.5, 0, rng.integers(0, 1 << len(form.stamps), rows)).astype(np.uint32),
        queue_us=rng.integers(0, 1 << 32, rows).astype(np.uint32),
        features_us=rng.integers(0, 500, rows).astype(np.uint32),
        program_us=rng.integers(0, 500, rows).astype(np.uint32),
        outcome=rng.integers(0, len(form.outcomes), rows).astype(np.uint8),
        rule_codes=np.where(rng.random(codes.shape) < 0.7, form.no_hit, codes).astype(np.uint8),
    )  # fmt: skip
    return columns._replace(**changes)


@st.composite
def forms(draw: st.DrawFn) -> AnswerForm:
    """Any form: texts that need escapes, no rules, no features, no stamps."""
    words = st.lists(_texts, min_size=1, max_size=5, unique=True)
    weights = st.floats(-10, 10) | st.sampled_from([0.5, 0.50004, 0.5, -0.0, 1e9, 0.05])
    rule_outcomes, stamps = draw(words), draw(st.just([]) | words)
    reason = {"code": _texts, "source": _texts, "text": _texts, "weight": weights}
    feature = {"name": _texts, "unit": st.sampled_from(UNITS) | _texts, "text": _texts}
    codes = st.integers(0, len(rule_outcomes) - 1)
    return AnswerForm.from_json(
        {
            "version": 1,
            "outcomes": draw(words),
            "rules": draw(st.lists(st.fixed_dictionaries(reason | {"rule_id": _texts}), max_size=20)),
            "rule_outcomes": rule_outcomes,
            "hit": draw(codes),
            "no_hit": draw(codes),
            "features": draw(st.lists(st.fixed_dictionaries(feature), max_size=12)),
            "versions": draw(st.dictionaries(_texts, _texts | st.none() | st.integers(-5, 10**20), max_size=3)),
            "stamps": stamps,
            "normal": draw(_texts),
            "not_degraded": draw(st.lists(st.sampled_from(stamps), unique=True)) if stamps else [],
            "no_probability": draw(st.fixed_dictionaries(reason)),
            "least_contribution": draw(st.sampled_from([0.05, 1e-5, 1.0])),
            "max_reasons": draw(st.integers(1, 6)),
        }
    )


@st.composite
def columns(draw: st.DrawFn, form: AnswerForm) -> AnswerColumns:
    """Any well-formed columns for a form."""
    n, top = draw(st.integers(0, 6)), draw(st.integers(0, 5)) if form.features else 0
    ids = [draw(_tokens) for _ in range(n)]
    gaps = draw(st.lists(st.binary(max_size=3), min_size=n + 1, max_size=n + 1))
    text = b"".join(gap + name.encode() for gap, name in zip(gaps, ids, strict=False)) + gaps[-1]
    lengths = np.array([len(name) for name in ids], np.int32)
    starts = np.cumsum([len(gap) + (len(ids[i - 1]) if i else 0) for i, gap in enumerate(gaps[:n])], dtype=np.int32)

    def whole(dtype: type, low: int, high: int, shape: Any = n) -> np.ndarray:
        edges = st.sampled_from([low, high])
        return draw(hnp.arrays(dtype, shape, elements=edges | st.integers(low, high), fill=st.nothing()))

    def floats(elements: st.SearchStrategy) -> np.ndarray:
        return draw(hnp.arrays(np.float32, (n, top), elements=elements, fill=st.nothing()))

    finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
    edges = st.sampled_from([0.0, -0.0, 0.5, 1.5, 0.00005, 120.0, 7200.0, 172800.0, 3.4e38, 2.0**32, 2.0**40, -(2.0**63)])
    near = st.integers(-(10**7), 10**7).map(lambda k: float(np.float32(k / 8)))
    probabilities = st.sampled_from([float("nan"), -0.0, 5e-7, 1.5e-6])
    # The edge that counts is met from both sides.
    contributions = st.sampled_from([0.05, float(np.float32(0.05)), 0.0499, 0.5, 1.0]).map(lambda v: float(np.float32(v)))
    return AnswerColumns(
        decision_ids=b"".join(draw(st.text("0123456789abcdef-", min_size=36, max_size=36)).encode() for _ in range(n)),
        text=text,
        probability=draw(hnp.arrays(np.float64, n, elements=st.floats(0, 1) | probabilities)),
        occurred_us=whole(np.int64, FIRST_US, LAST_US),
        received_us=whole(np.int64, FIRST_US, LAST_US),
        id_starts=starts,
        id_lengths=lengths,
        score=whole(np.int32, -(2**31), 2**31 - 1),
        top_features=whole(np.int32, 0, max(len(form.features) - 1, 0), (n, top)),
        top_contributions=floats(finite | contributions | st.just(float("nan"))),
        top_values=floats(st.floats(width=32) | edges.map(lambda v: float(np.float32(v))) | near),
        stamps=whole(np.uint32, 0, (1 << len(form.stamps)) - 1),
        queue_us=whole(np.uint32, 0, 2**32 - 1),
        features_us=whole(np.uint32, 0, 2**32 - 1),
        program_us=whole(np.uint32, 0, 2**32 - 1),
        outcome=whole(np.uint8, 0, len(form.outcomes) - 1),
        rule_codes=whole(np.uint8, 0, len(form.rule_outcomes) - 1, (n, len(form.rules))),
    )
