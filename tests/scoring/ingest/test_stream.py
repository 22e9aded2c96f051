"""Chunks, order, ids and columns: however a file is read, the same payments come out."""

import gzip
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from scoring.ingest import feed, open_stream, read_columns
from scoring.ingest.columns import PaymentColumns
from scoring.ingest.contract import looks_like_card_number
from tests.scoring.ingest.files import AMLGENTEX, HANDBOOK, SPARKOV, write

ROWS = 1000


def handbook(seed: int, *, is_sorted: bool) -> dict:
    """A larger file of the Handbook layout, with many equal seconds."""
    rng = np.random.default_rng(seed)
    seconds = rng.integers(0, 300, ROWS)
    if is_sorted:
        seconds = np.sort(seconds)
    return {
        "TRANSACTION_ID": rng.permutation(ROWS),
        "TX_DATETIME": [datetime(2018, 4, 1) + timedelta(seconds=int(s)) for s in seconds],
        "CUSTOMER_ID": rng.integers(0, 50, ROWS),
        "TERMINAL_ID": rng.integers(0, 80, ROWS),
        "TX_AMOUNT": rng.integers(0, 100_000, ROWS) / 100,
        "TX_FRAUD": (rng.random(ROWS) < 0.05).astype(np.int8),
    }


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("is_sorted", [True, False])
@pytest.mark.parametrize("batch_rows", [1, 7, 999, 1000, 5000])
def test_the_size_of_the_chunks_changes_nothing(suffix, is_sorted, batch_rows, tmp_path):
    stream = open_stream(write(tmp_path / f"raw{suffix}", handbook(1, is_sorted=is_sorted)))
    bodies = [body for chunk in stream.chunks(batch_rows) for body in chunk.dicts()]
    assert bodies == stream.columns().dicts()
    assert max(len(chunk) for chunk in stream.chunks(batch_rows)) <= batch_rows


def test_sorting_is_stable_and_moves_whole_rows(tmp_path):
    table = handbook(2, is_sorted=False)
    columns = read_columns(write(tmp_path / "raw.parquet", table))
    seconds = np.array([(moment - datetime(2018, 4, 1)).seconds for moment in table["TX_DATETIME"]])
    order = np.argsort(seconds, kind="stable")
    assert np.array_equal(columns.id_values, table["TRANSACTION_ID"][order])
    assert np.array_equal(columns.amount_minor, np.rint(table["TX_AMOUNT"][order] * 100))
    assert np.array_equal(columns.label, table["TX_FRAUD"][order])
    terminals = np.array(columns.dictionaries["terminal_id"], dtype=object)[columns.codes["terminal_id"]]
    assert terminals.tolist() == [f"ter_{number}" for number in table["TERMINAL_ID"][order]]


def test_columns_have_the_promised_types(tmp_path):
    columns = read_columns(write(tmp_path / "tx.parquet", SPARKOV))
    assert isinstance(columns, PaymentColumns)
    assert (columns.occurred_us.dtype, columns.amount_minor.dtype, columns.label.dtype) == (np.int64, np.int64, np.uint8)
    assert {codes.dtype for codes in columns.codes.values()} == {np.dtype(np.int32)}
    assert all(codes.max() < len(columns.dictionaries[name]) for name, codes in columns.codes.items())
    assert columns.numbers["latitude"].dtype == np.float64
    assert columns.flags["card_present"].tolist() == [1, 1, 0]
    assert columns.occurred_us[0] == 1_704_067_241_000_000


def test_a_missing_entity_is_absent_in_columns_and_in_bodies(tmp_path):
    gap = {**HANDBOOK, "TERMINAL_ID": [3156, None, 3156, 1365]}
    for name in ("raw.csv", "raw.parquet"):
        stream = open_stream(write(tmp_path / name, gap))
        assert [body.get("terminal_id") for body in stream.transactions] == [None, "ter_1365", "ter_3156", "ter_3156"]
        assert stream.columns().codes["terminal_id"][0] == -1


def test_whole_numbers_stored_as_floats_give_the_same_ids(tmp_path):
    floats = {**HANDBOOK, "CUSTOMER_ID": pa.array([596.0, 4961.0, 596.0, 2.0])}
    stream = open_stream(write(tmp_path / "raw.parquet", floats))
    assert {body["customer_id"] for body in stream.transactions} == {"cust_596", "cust_4961", "cust_2"}


def test_rows_without_an_id_column_are_numbered_as_in_the_file_even_where_they_are_sorted(tmp_path):
    mapping = tmp_path / "numbered.toml"
    mapping.write_text(
        """
        name = "numbered"
        transaction_id = { prefix = "row-" }
        occurred_at = { column = "second", kind = "seconds", sort = true }
        amount = { column = "cents", minor_per_unit = 1 }
        [fields]
        type = { constant = "transfer" }
        channel = { constant = "api" }
        currency = { constant = "EUR" }
        account_id = { token = "row_number", prefix = "acct_" }
        """
    )
    path = write(tmp_path / "rows.csv", {"second": [3.0, 1.25, 2.0], "cents": [5, 6, 7]})
    bodies = list(open_stream(path, mapping=mapping).transactions)
    assert [(b["transaction_id"], b["account_id"], b["amount_minor"]) for b in bodies] == [
        ("row-1", "acct_1", 6),
        ("row-2", "acct_2", 7),
        ("row-0", "acct_0", 5),
    ]
    assert bodies[0]["occurred_at"] == "1970-01-01T00:00:01.250000Z"


def test_equal_times_are_separated_across_chunks(tmp_path):
    many = {name: column[:1] * 10 + column[2:] for name, column in AMLGENTEX.items()}
    many["tx_id"] = list(range(11))
    stream = open_stream(write(tmp_path / "transfers.parquet", many))
    whole = stream.columns().occurred_us
    assert (whole - whole[0]).tolist() == [*range(10), 86_400_000_000]
    for batch_rows in (1, 3, 4):
        chunks = [chunk.occurred_us for chunk in stream.chunks(batch_rows)]
        assert np.concatenate(chunks).tolist() == whole.tolist()


def test_a_stream_can_be_read_again_and_gives_the_same(tmp_path):
    stream = open_stream(write(tmp_path / "raw.csv", handbook(3, is_sorted=False)))
    assert list(stream.transactions) == list(stream.transactions)
    assert stream.labels == stream.labels


def test_a_compressed_csv_and_other_delimiters_are_read(tmp_path):
    plain = write(tmp_path / "raw.csv", HANDBOOK)
    expected = list(open_stream(plain).transactions)
    with gzip.open(tmp_path / "raw.csv.gz", "wb") as file:
        file.write(plain.read_bytes())
    (tmp_path / "semicolon.csv").write_text(plain.read_text().replace(",", ";"))
    for name in ("raw.csv.gz", "semicolon.csv"):
        assert list(open_stream(tmp_path / name).transactions) == expected


def test_an_empty_file_is_an_empty_stream(tmp_path):
    empty = pa.table(HANDBOOK).slice(0, 0).to_pydict()
    table = {name: pa.array([], type=pa.table(HANDBOOK).schema.field(name).type) for name in empty}
    for name in ("raw.csv", "raw.parquet"):
        stream = open_stream(write(tmp_path / name, table))
        assert list(stream.transactions) == []
        assert stream.labels == []
        assert len(stream.columns()) == 0


def test_the_feed_puts_a_payment_before_a_label_of_the_same_moment():
    items = list(feed([(1, {"n": 1}), (5, {"n": 2})], [(1, {"l": 1}), (9, {"l": 2})]))
    assert [(item.at_us, item.kind) for item in items] == [(1, "transaction"), (1, "label"), (5, "transaction"), (9, "label")]


def test_the_feed_reads_no_more_than_one_payment_ahead():
    taken = []

    def payments():
        for number in range(100):
            taken.append(number)
            yield number, {}

    items = feed(payments(), [])
    next(items)
    next(items)
    assert len(taken) <= 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4242424242424242", True),
        ("4242424242424241", False),
        ("424242424242", False),
        ("card_4242424242424242", False),
        ("٤" * 16, False),
    ],
)
def test_card_numbers_are_told_by_length_and_check_digit(text, expected):
    assert looks_like_card_number(text) is expected
