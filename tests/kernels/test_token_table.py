"""Numbers for strings and pairs, and sets of ids: compiled and reference alike."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import KernelInputError
from kernels.token_table import (
    ABSENT,
    UNKNOWN,
    EntityPlan,
    NativeEntityTables,
    NativeIdSet,
    NativeTokenTable,
    spans_of,
)
from kernels.token_table.reference import ReferenceEntityTables, ReferenceIdSet, ReferenceTokenTable
from tests.strategies import examples

TABLES = pytest.mark.parametrize("table_type", [NativeTokenTable, ReferenceTokenTable])
SETS = pytest.mark.parametrize("set_type", [NativeIdSet, ReferenceIdSet])

# Few strings, so that they repeat; of every length around the eight bytes that the hash reads at once.
_LENGTHS = [b"", b"a", b"b", *(b"abcdefghijklmnopqrstuvwxyz"[:n] for n in range(6, 26))]
_STRINGS = st.one_of(st.none(), st.sampled_from(_LENGTHS), st.binary(max_size=70))
_ROWS = st.lists(st.tuples(_STRINGS, st.sampled_from([True, True, False])), max_size=80)


def codes(table, tokens: list[bytes | str | None], remember: bool | list[bool] = True) -> list[int]:
    flags = remember if isinstance(remember, bool) else np.array(remember, bool)
    return table.codes(*spans_of(tokens), flags).tolist()


def pairs(table, rows: list[tuple[int, int]], remember: bool = True) -> list[int]:
    first, second = np.array(rows, np.int32).reshape(-1, 2).T
    return table.pair_codes(first, second, remember).tolist()


# --- a table -------------------------------------------------------------------------------------------------------------


@TABLES
def test_strings_are_numbered_in_the_order_of_first_sight(table_type):
    table = table_type()
    assert codes(table, ["b", "a", "b", None, "", "a\0", "a"]) == [0, 1, 0, ABSENT, 2, 3, 1]
    assert (len(table), codes(table, ["", "new"])) == (4, [2, 4])


@TABLES
def test_what_must_not_be_remembered_leaves_no_trace(table_type):
    table = table_type()
    assert codes(table, ["a", "b", "b", "a", "c"], [True, False, True, False, False]) == [0, UNKNOWN, 1, 0, UNKNOWN]
    before = (len(table), table.memory_bytes())
    assert codes(table, [f"stranger{i}" for i in range(5_000)] + ["b"], False)[-2:] == [UNKNOWN, 1]
    assert (len(table), table.memory_bytes()) == before


@examples(150)
@given(batches=st.lists(_ROWS, max_size=4))
def test_native_table_equals_the_reference(batches):
    native, reference = NativeTokenTable(), ReferenceTokenTable()
    for rows in batches:
        tokens, flags = [token for token, _ in rows], [flag for _, flag in rows]
        assert codes(native, tokens, flags) == codes(reference, tokens, flags)
    assert len(native) == len(reference)
    assert [part.tolist() if i else part for i, part in enumerate(native.tokens(0, len(native)))] == [
        part.tolist() if i else part for i, part in enumerate(reference.tokens(0, len(reference)))
    ]


@TABLES
def test_a_table_keeps_its_numbers_while_it_grows(table_type):
    table, count = table_type(), 60_000
    names = [f"card-{i * 7919 % count:x}" for i in range(count)]
    for start in range(0, count, 1_001):
        part = names[start : start + 1_001]
        assert codes(table, part) == list(range(start, start + len(part)))
    assert codes(table, names[::-1]) == list(range(count))[::-1]
    assert len(table) == count


@TABLES
def test_spans_may_be_columns_of_a_wider_array_and_overlap(table_type):
    text = b"abcabc"
    starts = np.array([[0, 9], [3, 9], [1, 9], [0, 9]], np.int32)
    lengths = np.array([[3, 0], [3, 0], [3, 0], [-1, 0]], np.int32)
    assert table_type().codes(text, starts[:, 0], lengths[:, 0], True).tolist() == [0, 0, 1, ABSENT]


@TABLES
@pytest.mark.parametrize(("start", "length"), [(-1, 2), (3, 1), (0, 4), (2, 2), (2**31 - 1, 1), (0, 2**31 - 1)])
def test_a_span_outside_the_text_is_refused(table_type, start, length):
    with pytest.raises(KernelInputError, match="outside the text"):
        table_type().codes(b"abc", np.array([start], np.int32), np.array([length], np.int32), True)


@TABLES
@pytest.mark.parametrize(
    ("starts", "lengths", "remember"),
    [
        (np.zeros(2, np.int64), np.zeros(2, np.int32), True),
        (np.zeros(2, np.int32), np.zeros(3, np.int32), True),
        (np.zeros((2, 1), np.int32), np.zeros((2, 1), np.int32), True),
        (np.zeros(2, np.int32), np.zeros(2, np.int32), np.ones(3, bool)),
        (np.zeros(2, np.int32), np.zeros(2, np.int32), np.ones(2, np.int32)),
    ],
)
def test_other_shapes_and_types_are_refused(table_type, starts, lengths, remember):
    with pytest.raises(KernelInputError):
        table_type().codes(b"abc", starts, lengths, remember)


@TABLES
def test_no_rows_are_no_obstacle(table_type):
    assert codes(table_type(), []) == [] and pairs(table_type(), []) == []
    assert table_type().tokens(0, 0)[0] == b""


@TABLES
def test_tokens_of_a_table_make_the_same_table_again(table_type):
    table, again = table_type(), table_type()
    codes(table, ["x", "", "yy", "x" * 300])
    text, lengths = table.tokens(1, 3)
    assert (text, lengths.tolist()) == (b"yy" + b"x" * 300, [0, 2, 300])
    text, lengths = table.tokens(0, 4)
    ends = np.cumsum(lengths)
    assert again.codes(text, (ends - lengths).astype(np.int32), lengths, True).tolist() == [0, 1, 2, 3]
    for first, count in ((0, 5), (-1, 1), (4, 1), (0, -1)):
        with pytest.raises(KernelInputError, match="the strings 0 to 3"):
            table.tokens(first, count)


def test_tokens_may_be_read_by_another_thread_while_the_table_grows():
    table, wrong, done = NativeTokenTable(), [], threading.Event()

    def read() -> None:
        while not done.is_set():
            count = len(table)
            text, lengths = table.tokens(0, count)
            first = text[: lengths[0]] if count else b""
            if len(text) != lengths.sum() or (count and first != b"n0"):
                wrong.append(count)

    reader = threading.Thread(target=read)
    reader.start()
    for start in range(0, 200_000, 2_000):
        codes(table, [f"n{i}" for i in range(start, start + 2_000)])
    done.set()
    reader.join()
    assert wrong == []


def test_memory_is_what_strings_take_and_little_more():
    table, count = NativeTokenTable(), 100_000
    codes(table, [f"card-{i:011d}" for i in range(count)])  # 16 bytes each
    assert 32 * count < table.memory_bytes() < 70 * count


# --- pairs and entities ----------------------------------------------------------------------------------


SEVERAL = pytest.mark.parametrize("several_type", [NativeEntityTables, ReferenceEntityTables])
# One field with a counterpart; two fields; a class alone; two fields, a counterpart and a class.
PLAN = EntityPlan(3, ((0, -1, 1, -1), (1, 2, -1, -1), (2, -1, -1, 1), (0, 1, 2, 0)))


@SEVERAL
def test_one_call_serves_all_fields_and_kinds_of_a_batch(several_type):
    several = several_type(PLAN)
    text, starts, lengths = spans_of(["k1", "-", "c1", None, "k2", "-", "c1", "d", "k1", "-", None, "d"])
    starts, lengths = starts.reshape(3, 4), lengths.reshape(3, 4)
    classes, remember = np.array([0, 1, 0], np.int32), np.ones(3, bool)
    entities, others = several.of_text(text, starts, lengths, (0, 2, 3), classes, remember)
    assert entities.tolist() == [[0, ABSENT, ABSENT, 0], [1, 0, 0, ABSENT], [0, ABSENT, ABSENT, ABSENT]]
    assert others.tolist() == [[0, ABSENT, ABSENT, ABSENT], [0, ABSENT, ABSENT, 0], [ABSENT, ABSENT, ABSENT, 0]]
    assert [len(table) for table in several.tables] == [2, 1, 1]


@SEVERAL
def test_rows_that_do_not_fit_the_plan_are_refused(several_type):
    several, remember, classes = several_type(PLAN), np.ones(2, bool), np.zeros(2, np.int32)
    spans = np.zeros((2, 4), np.int32)
    with pytest.raises(KernelInputError, match="go beyond"):
        several.of_text(b"", spans, spans, (0, 1, 4), classes, remember)
    with pytest.raises(KernelInputError, match="each of 3 fields"):
        several.of_text(b"", spans, spans, (0, 1), classes, remember)
    with pytest.raises(KernelInputError, match="each of 3 fields"):
        several.of_text(b"", spans, spans, (0, 1, -1), classes, remember)
    with pytest.raises(KernelInputError, match="C-contiguous"):
        several.of_text(b"", spans[:, ::-1], spans, (0, 1, 2), classes, remember)
    with pytest.raises(KernelInputError, match="classes"):
        several.of_text(b"", spans, spans, (0, 1, 2), classes.astype(np.int64), remember)
    with pytest.raises(KernelInputError, match="remember"):
        several.of_text(b"", spans, spans, (0, 1, 2), classes, remember[:1])
    with pytest.raises(KernelInputError, match="outside the text"):
        several.of_text(b"", spans, spans + 1, (0, 1, 2), classes, remember)
    with pytest.raises(KernelInputError, match="codes must be"):
        several.of_codes(spans, classes, remember)


@pytest.mark.parametrize("kind", [(3, -1, -1, -1), (0, 3, -1, -1), (0, -1, 3, -1), (-1, -1, -1, -1)])
def test_a_plan_that_names_no_field_is_refused(kind):
    with pytest.raises(KernelInputError, match="names a field"):
        EntityPlan(3, (kind,))


@examples(60)
@given(rows=st.lists(st.tuples(*[st.integers(-2, 3)] * 3, st.integers(0, 1), st.booleans()), max_size=150), spelled=st.booleans())
def test_entities_equal_the_reference(rows, spelled):
    """Twice the same, so that what was new is known; by codes, and by strings of them."""
    array = np.array([row[:3] for row in rows], np.int32).reshape(-1, 3)
    classes, remember = np.array([row[3] for row in rows], np.int32), np.array([row[4] for row in rows], bool)
    text, starts, lengths = spans_of([None if code < 0 else str(code) for code in array.reshape(-1)])
    native, plain = NativeEntityTables(PLAN), ReferenceEntityTables(PLAN)
    for _ in range(2):
        results = [
            of.of_text(text, starts.reshape(-1, 3), lengths.reshape(-1, 3), (2, 0, 1), classes, remember)
            if spelled
            else of.of_codes(array, classes, remember)
            for of in (native, plain)
        ]
        for ours, truth in zip(*results, strict=True):
            assert ours.dtype == truth.dtype == np.int32
            np.testing.assert_array_equal(ours, truth)


@TABLES
def test_pairs_are_numbered_where_both_parts_are(table_type):
    table = table_type()
    rows = [(0, 0), (0, 1), (1, 0), (0, 0), (ABSENT, 1), (UNKNOWN, ABSENT), (UNKNOWN, 1), (2**31 - 1, 0)]
    assert pairs(table, rows) == [0, 1, 2, 0, ABSENT, ABSENT, UNKNOWN, 3]
    assert pairs(table, [(1, 0), (1, 1)], remember=False) == [2, UNKNOWN]


# --- a set of ids --------------------------------------------------------------------------------------------------------


@SETS
def test_a_set_never_misses_what_was_added(set_type):
    ids, count = set_type(), 30_000
    names = [f"tx-{i}" for i in range(count)]
    for start in range(0, count, 1_003):
        ids.add(*spans_of(names[start : start + 1_003]))
        ids.add(*spans_of(names[: start // 7]))
    assert len(ids) == count
    assert ids.contains(*spans_of(names)).all()
    assert ids.contains(*spans_of([f"other-{i}" for i in range(count)])).sum() == 0  # wrong once in 10^10 runs
    assert ids.contains(*spans_of([None, "tx-0", ""])).tolist() == [0, 1, 0]


@SETS
def test_an_absent_id_is_not_added(set_type):
    ids = set_type()
    ids.add(*spans_of([None, None]))
    assert len(ids) == 0
    ids.add(*spans_of([""]))
    assert ids.contains(*spans_of(["", None])).tolist() == [1, 0]


@SETS
def test_ids_outside_the_text_are_refused(set_type):
    for method in (set_type().add, set_type().contains):
        with pytest.raises(KernelInputError, match="outside the text"):
            method(b"abc", np.array([2], np.int32), np.array([2], np.int32))


@pytest.mark.parametrize("count", [20_000, 200_000])
def test_a_set_takes_few_bytes_an_id(count):
    ids = NativeIdSet()
    ids.add(*spans_of([f"transaction-{i:020d}" for i in range(count)]))
    assert 8 * count < ids.memory_bytes() < 20 * count
