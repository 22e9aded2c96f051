"""Packed feature rows: nothing is lost, C and the reference write the same bytes, and damage is found."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import kernels.pack_rows as packed_rows
from kernels.errors import KernelInputError
from kernels.pack_rows import pack_rows, reference, unpack_rows
from tests.kernels.packed_samples import window_rows
from tests.strategies import examples

QUIET_NAN = 0x7FC00000


def split(packed: tuple[bytes, np.ndarray]) -> list[bytes]:
    buffer, ends = packed
    return [buffer[start:end] for start, end in zip(ends.tolist(), ends[1:].tolist(), strict=False)]


def bits(x: np.ndarray) -> np.ndarray:
    """The bits that must come back."""
    found = np.ascontiguousarray(x).view(np.uint32)
    return np.where(np.isnan(x), np.uint32(QUIET_NAN), found)


def by_reference(rows: list[bytes], width: int) -> np.ndarray:
    ends = np.cumsum([0, *map(len, rows)])
    x, row, fault = reference.unpack_rows(b"".join(rows), ends, width)
    assert (row, fault) == (0, 0)
    return x


def with_check(row: bytes) -> bytes:
    """The row with the check that its content asks for: damage that the check does not show."""
    return row[:3] + reference.check_of(row[5:]).to_bytes(2, "little") + row[5:]


_values = st.one_of(
    st.floats(width=32),
    st.sampled_from([0.0, -0.0, float("nan"), float("inf"), float("-inf"), 1.0, 96.0, 97.0, 32_352.0, 32_353.0, -1.0, 2.0**127]),
    st.integers(0, 40_000).map(float),
    st.integers(1, 3).map(float),
    st.sampled_from([1234.5, 99_999.0, 1e-40, 3.4028234663852886e38]),
)
_rows = hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=60).flatmap(
    lambda shape: hnp.arrays(np.float32, shape, elements=_values, fill=st.just(float("nan")))
)


@examples(150)
@given(_rows)
def test_rows_come_back_with_their_bits(x):
    rows = split(pack_rows(x))
    assert rows == split(reference.pack_rows(x))
    for found in (unpack_rows(rows, x.shape[1]), by_reference(rows, x.shape[1])):
        assert found.dtype == np.float32 and found.shape == x.shape
        np.testing.assert_array_equal(found.view(np.uint32), bits(x))


@examples(100)
@given(hnp.arrays(np.uint32, st.tuples(st.integers(1, 4), st.integers(0, 30))))
def test_any_bits_come_back(words):
    x = words.view(np.float32)
    rows = split(pack_rows(x))
    assert rows == split(reference.pack_rows(x))
    np.testing.assert_array_equal(unpack_rows(rows, x.shape[1]).view(np.uint32), bits(x))


@pytest.mark.parametrize("rows", [0, 1, 7, 1_023, 1_024, 1_025, 2_500])
def test_rows_of_windows_come_back(rows):
    x = window_rows(rows)
    packed = split(pack_rows(x))
    assert len(packed) == rows
    np.testing.assert_array_equal(unpack_rows(packed, x.shape[1]).view(np.uint32), bits(x))
    assert packed[:200] == split(reference.pack_rows(x[:200]))


def test_every_form_of_a_value_is_met_by_rows_of_windows():
    """What the format has for means, ratios, repeats and short numbers is used, and saves room."""
    x = window_rows(500)
    packed = pack_rows(x)[0]
    assert len(packed) < 0.4 * x.nbytes
    scattered = x.copy()
    for row in scattered:
        np.random.default_rng(1).shuffle(row)
    assert len(packed) < 0.9 * len(pack_rows(scattered)[0]), "nothing is gained from where the features stand"


@pytest.mark.parametrize(
    ("values", "size"),
    [
        ([], 5),
        ([np.nan] * 8, 6),
        ([0.0] * 8, 8),
        ([1.0, 96.0], 9),
        ([97.0], 9),
        ([32_352.0], 9),
        ([32_353.0], 11),
        ([-1.0], 11),
        ([0.5, 0.5, 0.5], 13),
        ([-0.0], 11),
        # 700 / 7 at a mean's place, and 50 / 100 at a ratio's: one byte each
        ([np.nan] * 2 + [7.0] + [np.nan] * 4 + [700.0] + [np.nan] * 4 + [100.0], 5 + 1 + 3 + 1 + 2 + 1),
        ([50.0] + [np.nan] * 9 + [7.0] + [np.nan] * 4 + [701.0] + [np.nan] * 19 + [50 / (701 / 7)], 5 + 2 + 4 + 1 + 1 + 2 + 1),
    ],
)
def test_values_take_the_room_that_the_format_says(values, size):
    x = np.array([values], np.float32)
    rows = split(pack_rows(x))
    assert len(rows[0]) == size
    np.testing.assert_array_equal(unpack_rows(rows, len(values)).view(np.uint32), bits(x))


def test_a_number_takes_the_place_of_another():
    many = np.arange(40, dtype=np.float32) + 0.5
    places = [reference._place(int(word)) for word in many.view(np.uint32)]
    first = next(i for i in range(40) if places[i] in places[i + 1 :])
    x = np.concatenate([many, many[first : first + 1], many[-1:]])[None]
    # 41 numbers of 4 bytes, and the last, which still has its place, of one
    assert len(pack_rows(x)[0]) == 5 + 2 + 11 + 41 * 4 + 1
    assert pack_rows(x)[0] == reference.pack_rows(x)[0]


def test_a_quotient_too_large_for_a_float32_is_not_used():
    x = np.full((1, 12), np.nan, np.float32)
    x[0, 0], x[0, 5], x[0, 10] = 1e-10, 1e38, np.inf
    rows = split(pack_rows(x))
    assert rows == split(reference.pack_rows(x)) and len(rows[0]) == 5 + 1 + 3 + 3 * 4
    assert unpack_rows(rows, 12)[0, 10] == np.inf


def test_without_a_compiler_the_reference_does_the_work(monkeypatch):
    x = window_rows(30)
    compiled = pack_rows(x)
    monkeypatch.setattr(packed_rows, "_native", lambda: None)
    monkeypatch.setattr(packed_rows, "_pack", lambda *_: pytest.fail("C was called"))
    assert split(pack_rows(x)) == split(compiled)
    np.testing.assert_array_equal(unpack_rows(split(compiled), x.shape[1]).view(np.uint32), bits(x))


def test_rows_need_not_be_contiguous():
    x = window_rows(20)
    for part in (x[::2], x[:, ::3], x.T, np.asfortranarray(x)):
        assert split(pack_rows(part)) == split(reference.pack_rows(np.ascontiguousarray(part)))


def test_the_bytes_of_format_1_stay_as_they_are():
    x = np.array([[1234.0, 0.0, np.nan, -0.0, 5.0, 1234.0, 0.1]], np.float32)
    row = bytes.fromhex("010700446c" + "03c63a" + "8671" + "00000080" + "04" + "64" + "cdcccc3d")
    assert pack_rows(x)[0] == row
    np.testing.assert_array_equal(unpack_rows([row], 7).view(np.uint32), bits(x))


def test_memory_of_the_database_driver_is_read_too():
    x = window_rows(3)
    rows = split(pack_rows(x))
    np.testing.assert_array_equal(unpack_rows(list(map(memoryview, rows)), x.shape[1]), unpack_rows(rows, x.shape[1]))


# --- what is refused ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=["compiled", "reference"])
def which(request, monkeypatch):
    if request.param == "reference":
        monkeypatch.setattr(packed_rows, "_native", lambda: None)


@pytest.mark.usefixtures("which")
def test_any_changed_byte_is_found():
    x = window_rows(3)
    rows = split(pack_rows(x))
    rng = random.Random(5)
    for at in range(len(rows[1])):
        damaged = bytearray(rows[1])
        damaged[at] ^= 1 << rng.randrange(8)
        with pytest.raises(KernelInputError, match="^packed row 1 "):
            unpack_rows([rows[0], bytes(damaged), rows[2]], x.shape[1])


@pytest.mark.usefixtures("which")
def test_any_length_but_the_right_one_is_found():
    row = split(pack_rows(window_rows(1)))[0]
    for wrong in (*(row[:size] for size in range(len(row))), row + b"\0"):
        with pytest.raises(KernelInputError, match="^packed row 0 "):
            unpack_rows([wrong], 109)


@examples(300)
@given(st.data())
def test_content_that_passes_the_check_is_read_alike_or_refused_alike(data):
    """Bytes are drawn, and their check is right: what is read must stay inside them, in C as in the reference."""
    x = window_rows(1, seed=data.draw(st.integers(0, 50)))[:, : data.draw(st.integers(0, 109))]
    row = bytearray(pack_rows(x)[0])
    for _ in range(data.draw(st.integers(1, 3))):
        kind, at = data.draw(st.sampled_from(["set", "cut", "add"])), data.draw(st.integers(5, max(len(row), 5)))
        if kind == "cut":
            del row[at : at + 1]
        elif kind == "add":
            row.insert(at, data.draw(st.integers(0, 255)))
        elif at < len(row):
            row[at] = data.draw(st.integers(0, 255))
    row = with_check(bytes(row))
    truth, _, fault = reference.unpack_rows(row, np.array([0, len(row)]), x.shape[1])
    if fault:
        with pytest.raises(KernelInputError, match="does not hold what a packed row holds"):
            unpack_rows([row], x.shape[1])
    else:
        np.testing.assert_array_equal(bits(unpack_rows([row], x.shape[1])), bits(truth))


@pytest.mark.usefixtures("which")
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("", "is no packed row of version 1"),
        ("01", "is no packed row of version 1"),
        ("0204000000", "is no packed row of version 1"),
        ("0105000000", "holds 5 features where 4 are expected"),
        ("0104000000", "does not match its check"),
    ],
)
def test_rows_that_are_none_are_refused(row, message):
    with pytest.raises(KernelInputError, match=f"packed row 0 {message}"):
        unpack_rows([bytes.fromhex(row)], 4)


@pytest.mark.usefixtures("which")
@pytest.mark.parametrize(
    ("width", "body", "what"),
    [
        (4, "", "no mask"),
        (4, "01", "no codes"),
        (4, "02aa", "a quad behind the last"),
        (3, "0155" , "a feature behind the last"),
        (4, "0102", "no byte"),
        (4, "0103" + "000000", "part of a number"),
        (4, "0102" + "60", "a mean without a sum"),
        (4, "0102" + "61", "a ratio without a sum"),
        (4, "0102" + "62", "a place that is free"),
        (4, "0103" + "0000c07f", "a number that is none"),
        (4, "0102" + "82", "half of two bytes"),
        (4, "0101" + "00", "bytes behind the last"),
    ],
)  # fmt: skip
def test_content_against_the_format_is_refused(width, body, what):
    row = with_check(bytes([1, width, 0, 0, 0]) + bytes.fromhex(body))
    with pytest.raises(KernelInputError, match="packed row 0 does not hold what a packed row holds"):
        unpack_rows([row], width)


@pytest.mark.parametrize(
    "x", [np.zeros(4, np.float32), np.zeros((2, 2)), [[1.0]], np.zeros((1, 65_536), np.float32), np.zeros((1, 2), ">f4")]
)
def test_what_is_no_matrix_of_float32_is_refused(x):
    with pytest.raises(KernelInputError, match=r"x must be float32 \[n, F\] with F <= 65535; got"):
        pack_rows(x)


@pytest.mark.parametrize("width", [-1, 65_536, 4.0])
def test_widths_that_cannot_be_are_refused(width):
    with pytest.raises(KernelInputError, match="width must be a whole number from 0 to 65535"):
        unpack_rows([], width)


def test_the_widest_row_comes_back():
    x = np.arange(65_535, dtype=np.float32)[None]
    np.testing.assert_array_equal(unpack_rows(split(pack_rows(x)), 65_535), x)


def test_no_rows_are_a_matrix_too():
    assert unpack_rows([], 7).shape == (0, 7)
