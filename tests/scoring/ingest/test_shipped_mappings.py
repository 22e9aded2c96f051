"""Each layout that the project names is recognised and read as it should be."""

from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest

from scoring.ingest import detect_mapping, open_stream, read_columns, shipped_mappings
from scoring.services.record_labels import LabelInput
from scoring.transactions import Transaction, faults_of
from tests.scoring.ingest.files import AMLGENTEX, HANDBOOK, LAYOUTS, PAN, SPARKOV, SPARKOV_KAGGLE, ULB, write

KEY = b"a key of the tests only"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_recognised_and_gives_payments_and_labels_that_the_api_accepts(name, suffix, tmp_path):
    stream = open_stream(write(tmp_path / f"file{suffix}", LAYOUTS[name]), token_key=KEY)
    assert stream.mapping.name == name
    payments = [msgspec.convert(body, Transaction) for body in stream.transactions]
    labels = [msgspec.convert(body, LabelInput) for body in stream.labels]
    now = datetime(2100, 1, 1, tzinfo=UTC)
    assert [fault for payment in payments for fault in faults_of(payment, now, timedelta(0))] == []
    assert len(payments) == len(next(iter(LAYOUTS[name].values())))
    assert {label.transaction_id for label in labels} <= {payment.transaction_id for payment in payments}
    assert all(label.reported_at > label.occurred_at for label in labels) and labels


@pytest.mark.parametrize("name", LAYOUTS)
def test_csv_and_parquet_of_the_same_rows_give_the_same_stream(name, tmp_path):
    csv = open_stream(write(tmp_path / "file.csv", LAYOUTS[name]), token_key=KEY)
    parquet = open_stream(write(tmp_path / "file.parquet", LAYOUTS[name]), token_key=KEY)
    assert [_close(body) for body in csv.transactions] == [_close(body) for body in parquet.transactions]
    assert csv.labels == parquet.labels


def _close(body: dict) -> dict:
    # A float32 column and its text differ in the last digits.
    return {name: pytest.approx(value) if isinstance(value, float) else value for name, value in body.items()}


def test_every_shipped_mapping_has_a_file_in_these_tests():
    assert {mapping.name for mapping in shipped_mappings()} == LAYOUTS.keys()


def test_no_mapping_is_mistaken_for_another():
    for name, columns in LAYOUTS.items():
        assert detect_mapping(columns).name == name


def test_handbook_rows_are_sorted_by_time_and_keep_the_order_of_the_file_within_a_second(tmp_path):
    bodies = list(open_stream(write(tmp_path / "raw.parquet", HANDBOOK)).transactions)
    assert [body["transaction_id"] for body in bodies] == ["handbook-11", "handbook-13", "handbook-10", "handbook-12"]
    assert bodies[2] == {
        "transaction_id": "handbook-10",
        "occurred_at": "2018-04-01T00:00:31.000000Z",
        "amount_minor": 5716,
        "currency": "EUR",
        "type": "card_payment",
        "channel": "pos",
        "customer_id": "cust_596",
        "card_id": "card_596",
        "terminal_id": "ter_3156",
    }


def test_handbook_frauds_are_reported_a_week_later(tmp_path):
    labels = open_stream(write(tmp_path / "raw.parquet", HANDBOOK)).labels
    assert [label["transaction_id"] for label in labels] == ["handbook-11", "handbook-12"]
    assert labels[0] == {
        "label_id": "lbl-handbook-11",
        "transaction_id": "handbook-11",
        "label": "fraud",
        "source": "chargeback",
        "occurred_at": "2018-04-01T00:00:10.000000Z",
        "reported_at": "2018-04-08T00:00:10.000000Z",
    }


def test_the_scenario_column_of_the_handbook_is_never_read(tmp_path):
    changed = {**HANDBOOK, "TX_FRAUD_SCENARIO": [9, 9, 9, 9]}
    first = open_stream(write(tmp_path / "a.parquet", HANDBOOK))
    second = open_stream(write(tmp_path / "b.parquet", changed))
    assert list(first.transactions) == list(second.transactions)
    assert first.labels == second.labels
    without = {name: column for name, column in HANDBOOK.items() if name != "TX_FRAUD_SCENARIO"}
    assert open_stream(write(tmp_path / "c.parquet", without)).labels == first.labels


def test_sparkov_categories_become_channel_presence_and_merchant_code(tmp_path):
    fuel, food, web = open_stream(write(tmp_path / "tx.parquet", SPARKOV)).transactions
    assert (fuel["channel"], fuel["card_present"], fuel["mcc"]) == ("pos", True, "5541")
    assert (food["channel"], food["card_present"], food["mcc"]) == ("pos", True, "5411")
    assert (web["channel"], web["card_present"], web["mcc"]) == ("ecom", False, "5964")
    assert fuel["merchant_id"] == "mer_Eichmann-Bogan-and-Rodriguez"
    assert (fuel["latitude"], fuel["longitude"]) == (33.5, -84.25)


def test_a_card_number_is_replaced_by_a_keyed_token(tmp_path):
    path = write(tmp_path / "fraudTrain.csv", SPARKOV_KAGGLE)
    first, second = open_stream(path, token_key=KEY).transactions
    assert PAN not in str(first) and PAN not in str(second)
    assert first["card_id"] == second["card_id"] != next(open_stream(path, token_key=KEY[::-1]).transactions)["card_id"]
    columns = read_columns(path, token_key=KEY)
    assert columns.dictionaries["card_id"] == [first["card_id"]]


def test_amlgentex_keeps_the_order_within_a_day_and_names_income_from_outside(tmp_path):
    bodies = list(open_stream(write(tmp_path / "transfers.parquet", AMLGENTEX)).transactions)
    assert [body["occurred_at"] for body in bodies] == [
        "2024-01-01T00:00:00.000000Z",
        "2024-01-01T00:00:00.000001Z",
        "2024-01-02T00:00:00.000000Z",
    ]
    assert [body["account_id"] for body in bodies] == ["acct_10440", "acct_external", "acct_11496"]
    assert bodies[2]["counterparty_id"] == bodies[0]["account_id"]


def test_each_row_of_the_ulb_file_has_an_account_of_its_own(tmp_path):
    bodies = list(open_stream(write(tmp_path / "creditcard.csv", ULB)).transactions)
    assert [body["account_id"] for body in bodies] == ["acct_ulb_0", "acct_ulb_1", "acct_ulb_2"]
    assert [body["amount_minor"] for body in bodies] == [14962, 269, 21700]
    assert bodies[2]["occurred_at"] == "2013-09-02T23:59:52.000000Z"


def test_the_ulb_file_is_read_as_published_with_quoted_header_and_class(tmp_path):
    path = tmp_path / "creditcard.csv"
    header = ",".join(f'"{name}"' for name in ULB)
    row = ["1", *["-1.36"] * 28, "2.69", '"1"']
    path.write_text(f"{header}\n{','.join(row)}\n")
    stream = open_stream(path)
    assert [body["amount_minor"] for body in stream.transactions] == [269]
    assert [label["transaction_id"] for label in stream.labels] == ["ulb-0"]


def test_a_file_without_its_label_column_has_payments_but_no_labels(tmp_path):
    without = {name: column for name, column in HANDBOOK.items() if name != "TX_FRAUD"}
    stream = open_stream(write(tmp_path / "raw.csv", without))
    assert not stream.has_labels
    assert stream.labels == []
    assert len(list(stream.transactions)) == 4
    assert np.array_equal(stream.columns().label, np.zeros(4))
