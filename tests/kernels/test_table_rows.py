"""Rows of a table from arrays: compiled and reference alike, and read back as what they were made of."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import KernelInputError
from kernels.native import library
from kernels.pack_rows import pack_rows
from kernels.table_rows import (
    Array,
    Constant,
    FieldType,
    Flag,
    Joined,
    LowestBit,
    Number,
    PackedRow,
    Part,
    RowLayout,
    Slice,
    Token,
    Word,
    reference,
    rows_of,
)
from kernels.table_rows.columns import FIRST_US, LAST_US
from tests.strategies import examples

TEXT, WORDS = b"abcdefghijklmnopqrstuvwxyz", ("none", "one", "two")
ARRAYS = {
    "time": Array("i8"), "ends": Array("i8"), "share": Array("f8"), "starts": Array("i4", 2), "lengths": Array("i4", 2),
    "code": Array("i4"), "bits": Array("u4"), "margin": Array("f4"), "row": Array("f4", 5), "small": Array("u2", 2),
    "tiny": Array("u1"),
}  # fmt: skip
COLUMNS = (
    (FieldType.BIGINT, Number("time")),
    (FieldType.TIMESTAMPTZ, Number("time")),
    (FieldType.SMALLINT, Number("tiny")),
    (FieldType.INTEGER, Number("code")),
    (FieldType.DOUBLE, Number("share")),
    (FieldType.DOUBLE, Number("margin")),
    (FieldType.BOOLEAN, Flag("bits", 0b1010)),
    (FieldType.TEXT, Word("code", WORDS)),
    (FieldType.TEXT, LowestBit("bits", ("plain", "a", "b", "c", "d"))),
    (FieldType.TEXT, Token(0, "starts", "lengths", 1)),
    (FieldType.TEXT, Part(0, "ends")),
    (FieldType.TEXT, Slice(1, 3)),
    (FieldType.BYTEA, Joined(("bits", "small", "tiny"))),
    (FieldType.BYTEA, PackedRow("row")),
    (FieldType.TEXT, Constant("always")),
    (FieldType.TEXT, Constant(None)),
)
LAYOUT = RowLayout(ARRAYS, COLUMNS, texts=2)
_FLOATS = st.floats(width=32)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "time": st.integers(FIRST_US, LAST_US),
            "step": st.integers(0, 3),
            "share": st.floats(),
            "start": st.integers(0, 20),
            "length": st.integers(-1, 6),
            "code": st.integers(0, 2),
            "bits": st.integers(0, 15),
            "margin": _FLOATS,
            "row": st.lists(_FLOATS, min_size=5, max_size=5),
            "small": st.lists(st.integers(0, 65_535), min_size=2, max_size=2),
            "tiny": st.integers(0, 255),
        }
    ),
    max_size=8,
)


def arrays_of(rows: list[dict]) -> list[np.ndarray]:
    n = len(rows)
    found = {name: np.array([row[name] for row in rows], of.elements) for name, of in ARRAYS.items() if rows and name in rows[0]}
    if not rows:
        found = {name: np.zeros((0, of.width) if of.width > 1 else 0, of.elements) for name, of in ARRAYS.items()}
    else:
        found["ends"] = np.cumsum([row["step"] for row in rows], dtype=np.int64)
        pairs = {"starts": "start", "lengths": "length"}
        found |= {many: np.array([[0, row[one]] for row in rows], "i4") for many, one in pairs.items()}
    assert all(len(array) == n for array in found.values())
    return [found[name] for name in ARRAYS]


@examples(150)
@given(rows=ROWS)
def test_compiled_rows_equal_the_reference(rows):
    assert library() is not None
    arrays, texts = arrays_of(rows), (TEXT, b"xyz" * len(rows))
    written = LAYOUT.write(len(rows), arrays, texts)
    assert written.stream.tobytes() == reference.write(COLUMNS, len(rows), dict(zip(ARRAYS, arrays, strict=True)), texts)
    at = 0
    for row, values in zip(rows, written.values(), strict=True):
        piece = None if row["length"] < 0 else TEXT[row["start"] : row["start"] + row["length"]].decode()
        lowest = (row["bits"] & -row["bits"]).bit_length()
        assert values[:4] == [row["time"], row["time"], row["tiny"], row["code"]]
        assert values[4] == (None if math.isnan(row["share"]) else row["share"])
        assert values[5] == (None if math.isnan(row["margin"]) else row["margin"])
        assert values[6:12] == [
            row["bits"] & 10 > 0, WORDS[row["code"]], ("plain", "a", "b", "c", "d")[lowest], piece,
            TEXT[at : at + row["step"]].decode(), "xyz",
        ]  # fmt: skip
        assert values[12] == struct.pack("<I2HB", row["bits"], *row["small"], row["tiny"])
        assert values[13] == pack_rows(np.array([row["row"]], np.float32))[0] and values[14:] == ["always", None]
        at += row["step"]


GOOD = {
    "time": 1, "step": 1, "share": 0.5, "start": 0, "length": 1, "code": 0, "bits": 0, "margin": 0.0, "row": [0.0] * 5,
    "small": [0, 0], "tiny": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"time": FIRST_US - 1}, {"time": LAST_US + 1}, {"code": 3}, {"code": -1}, {"bits": 16}, {"start": 26, "length": 1},
        {"start": -1}, {"step": 27},
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_refused_with_its_row_and_column(wrong):
    rows = [GOOD, GOOD | wrong]
    arrays, texts = arrays_of(rows), (TEXT, b"xyz" * 2)
    with pytest.raises(reference.Unwritable) as told:
        reference.write(COLUMNS, 2, dict(zip(ARRAYS, arrays, strict=True)), texts)
    with pytest.raises(KernelInputError, match=rf"column {told.value.column}, .* in row 1"):
        LAYOUT.write(2, arrays, texts)


def test_whole_numbers_that_their_column_cannot_hold_are_refused():
    layout = RowLayout({"number": Array("i8")}, [(FieldType.SMALLINT, Number("number"))])
    for number, fits in ((32_767, True), (32_768, False), (-32_768, True), (-32_769, False)):
        if fits:
            assert [*layout.write(1, [np.array([number], np.int64)]).values()] == [[number]]
        else:
            with pytest.raises(KernelInputError, match="cannot be written as smallint"):
                layout.write(1, [np.array([number], np.int64)])


def test_arrays_and_texts_have_to_be_those_of_the_layout():
    arrays = arrays_of([GOOD])
    with pytest.raises(KernelInputError, match="the arrays must be"):
        LAYOUT.write(1, [arrays[0].astype(np.int32), *arrays[1:]], (TEXT, b"xyz"))
    with pytest.raises(KernelInputError, match="the arrays must be"):
        LAYOUT.write(2, arrays, (TEXT, b"xyz"))
    with pytest.raises(KernelInputError, match="2 texts of bytes"):
        LAYOUT.write(1, arrays, (TEXT,))
    with pytest.raises(KernelInputError, match="widest elements"):
        RowLayout({"a": Array("u1"), "b": Array("i8")}, [])


def test_arrays_that_are_not_contiguous_are_written_as_they_read():
    layout = RowLayout({"number": Array("i8")}, [(FieldType.BIGINT, Number("number"))])
    assert [*layout.write(3, [np.arange(6)[::2]]).values()] == [[0], [2], [4]]


def test_plain_values_become_rows_and_wrong_ones_are_refused():
    types = (FieldType.TEXT, FieldType.BOOLEAN, FieldType.BYTEA)
    given_ = [["a", True, b"\x00"], [None, False, None]]
    assert [*rows_of(types, given_).values()] == given_
    with pytest.raises(KernelInputError, match="is no text"):
        rows_of(types, [[1, True, b""]])
