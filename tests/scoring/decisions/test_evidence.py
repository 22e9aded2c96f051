"""Evidence of decisions: packed and back, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.decisions.evidence import EVIDENCE, Evidence, unpack_evidence
from scoring.engine import table_rows as of
from tests.strategies import examples


def evidence(n: int, top: int, rules: int, seed: int) -> Evidence:
    """Random bits: every float32 there is may be a contribution, every uint32 a time."""
    rng = np.random.default_rng(seed)
    return Evidence(
        rng.integers(0, 2**32, (n, 3), dtype=np.uint32),
        rng.integers(0, 2**16, (n, top), dtype=np.int32),
        rng.integers(0, 2**32, (n, top), dtype=np.uint32).view(np.float32),
        rng.integers(0, 256, (n, rules), dtype=np.uint8),
    )


def pack(given_: Evidence) -> list[bytes]:
    """As the ledger's rows hold it."""
    (n, top), rules = given_.top_features.shape, given_.rule_codes.shape[1]
    arrays = {
        "queue_us": of.Array("u4"), "features_us": of.Array("u4"), "program_us": of.Array("u4"),
        "top_contributions": of.Array("f4", top), "top_features": of.Array("u2", top), "rule_codes": of.Array("u1", rules),
    }  # fmt: skip
    layout = of.RowLayout(arrays, [(of.FieldType.BYTEA, EVIDENCE)])
    queue, features, program = np.ascontiguousarray(given_.times_us.T)
    last = given_.top_contributions, given_.top_features.astype(np.uint16), given_.rule_codes
    return [row[0] for row in layout.write(n, (queue, features, program, *last)).values()]


@examples(80)
@given(st.integers(1, 9), st.integers(0, 6), st.integers(0, 20), st.integers(0, 2**32))
def test_it_comes_back_bit_for_bit(n, top, rules, seed):
    given_ = evidence(n, top, rules, seed)
    packed = pack(given_)
    assert [len(of) for of in packed] == [12 + 6 * top + rules] * n
    found = unpack_evidence(packed, rules)
    for name in ("times_us", "top_features", "top_contributions", "rule_codes"):
        before, after = getattr(given_, name), getattr(found, name)
        assert (before.dtype, before.shape, before.tobytes()) == (after.dtype, after.shape, after.tobytes()), name


def test_the_bytes_are_little_endian_and_in_the_order_that_is_written_down():
    one = Evidence(
        np.array([[1, 2, 0x01020304]], np.uint32),
        np.array([[7, 0x0102]], np.int32),
        np.array([[1.0, -2.5]], np.float32),
        np.array([[0, 3, 1]], np.uint8),
    )
    assert pack(one) == [bytes.fromhex("01000000 02000000 04030201 0700 0201 0000803f 000020c0 000301")]


@pytest.mark.parametrize(
    ("packed", "rules"), [([b""], 0), ([bytes(11)], 0), ([bytes(13)], 0), ([bytes(12)], 1), ([bytes(18), bytes(24)], 0)]
)
def test_what_does_not_belong_to_the_form_is_refused(packed, rules):
    with pytest.raises(ValueError, match="evidence of .* bytes does not belong to a form of"):
        unpack_evidence(packed, rules)
