"""Version 7 UUIDs of a batch: compiled and reference alike."""

from __future__ import annotations

from uuid import RFC_4122, UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import KernelInputError
from kernels.ordered_ids import ID_BYTES, ordered_ids, reference
from tests.strategies import examples


def texts(joined: bytes) -> list[str]:
    return [joined[at : at + ID_BYTES].decode() for at in range(0, len(joined), ID_BYTES)]


@examples(100)
@given(milliseconds=st.integers(0, 2**48 - 1), first=st.integers(0, 4095), random=st.binary(max_size=400))
def test_compiled_equals_the_reference(milliseconds, first, random):
    random = random[: len(random) // 8 * 8]
    joined, keys = ordered_ids(milliseconds, first, random)
    expected, expected_keys = reference.ordered_ids(milliseconds, first, random)
    assert joined == expected and keys.tolist() == expected_keys and keys.dtype == np.uint64


def test_ids_are_of_version_7_in_order_and_carry_their_key_and_time():
    milliseconds = 1_764_500_000_123
    joined, keys = ordered_ids(milliseconds, 2047, np.random.default_rng(1).bytes(8 * 2048))
    found = texts(joined)
    assert found == sorted(found) and len(set(found)) == 2048
    for text, key in zip(found, keys.tolist(), strict=True):
        of = UUID(text)
        assert str(of) == text and of.version == 7 and of.variant == RFC_4122
        assert of.int >> 80 == milliseconds and of.node == key


@pytest.mark.parametrize("given_", [(1 << 48, 0, b""), (-1, 0, b""), (0, 1 << 12, b""), (0, -1, b""), (0, 0, b"1234567")])
def test_what_is_out_of_range_is_refused(given_):
    with pytest.raises(KernelInputError, match="8 random bytes"):
        ordered_ids(*given_)
