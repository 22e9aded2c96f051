"""What cannot be read is refused with the place and the remedy."""

import pytest

from scoring.ingest import MappingError, UnknownLayout, UnreadableFile, load_mapping, open_stream
from tests.scoring.ingest.files import HANDBOOK, PAN, SPARKOV, SPARKOV_KAGGLE, write

MINIMAL = """
name = "till"
[transaction_id]
column = "id"
prefix = "till-"
[occurred_at]
column = "when"
kind = "datetime"
[amount]
column = "sum"
minor_per_unit = 100
[fields]
type = { constant = "card_payment" }
channel = { column = "way", values = { shop = "pos", web = "ecom" } }
currency = { constant = "EUR" }
card_id = { column = "card", prefix = "card_" }
"""
ROWS = "id,when,sum,way,card\n1,2026-01-01T10:00:00Z,1.50,shop,a\n2,2026-01-01T12:00:00+01:00,2,web,b\n"


def till(tmp_path, *, mapping=MINIMAL, rows=ROWS):
    (tmp_path / "till.toml").write_text(mapping)
    (tmp_path / "till.csv").write_text(rows)
    return open_stream(tmp_path / "till.csv", mapping=tmp_path / "till.toml")


def test_a_mapping_file_of_ones_own_is_enough(tmp_path):
    bodies = list(till(tmp_path).transactions)
    assert [(b["transaction_id"], b["occurred_at"], b["amount_minor"], b["channel"], b["card_id"]) for b in bodies] == [
        ("till-1", "2026-01-01T10:00:00.000000Z", 150, "pos", "card_a"),
        ("till-2", "2026-01-01T11:00:00.000000Z", 200, "ecom", "card_b"),
    ]


def test_an_unknown_layout_names_the_nearest_mapping_and_what_it_misses(tmp_path):
    columns = {name: column for name, column in HANDBOOK.items() if name != "TERMINAL_ID"}
    with pytest.raises(UnknownLayout) as caught:
        open_stream(write(tmp_path / "raw.csv", columns))
    assert "'handbook', needs the missing TERMINAL_ID" in str(caught.value)
    assert "Write a mapping file" in caught.value.remedy


def test_a_layout_that_shares_nothing_lists_the_mappings_and_the_columns(tmp_path):
    with pytest.raises(UnknownLayout, match="handbook, sparkov.*file has colour, shape"):
        open_stream(write(tmp_path / "x.csv", {"shape": ["round"], "colour": ["red"]}))


def test_a_named_mapping_that_does_not_fit_names_the_missing_columns(tmp_path):
    with pytest.raises(UnknownLayout, match=r"has no column TERMINAL_ID, .*'handbook' needs"):
        columns = {name: column for name, column in HANDBOOK.items() if name != "TERMINAL_ID"}
        open_stream(write(tmp_path / "raw.csv", columns), mapping="handbook")


def test_a_mapping_that_is_not_shipped_lists_those_that_are():
    with pytest.raises(UnknownLayout, match="'visa'.*amlgentex, handbook"):
        load_mapping("visa")


def test_a_card_number_column_cannot_be_read_without_a_key(tmp_path):
    path = write(tmp_path / "fraudTrain.csv", SPARKOV_KAGGLE)
    for key in (None, b"short"):
        with pytest.raises(MappingError, match="token_key of at least 16 bytes"):
            open_stream(path, token_key=key)


@pytest.mark.parametrize("number", [PAN, "4242 4242 4242 4242", "4242-4242-4242-4242", int(PAN)])
def test_a_card_number_where_a_plain_token_is_expected_stops_the_stream_and_is_not_shown(number, tmp_path):
    rows = ROWS.replace("shop,a", f"shop,{number}")
    with pytest.raises(MappingError, match="read as card numbers") as caught:
        list(till(tmp_path, rows=rows).transactions)
    assert "4242" not in str(caught.value)
    assert "keyed_hash" in caught.value.remedy


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1.50", "-1.50", "no amount from 0 .* row 0"),
        ("1.50", "", "no amount from 0 .* row 0"),
        ("1.50", "much", "till.csv cannot be read: .*much"),
        ("2026-01-01T10:00:00Z", "yesterday", "'when' cannot be read as datetime"),
        ("2026-01-01T10:00:00Z", "", "'when' has rows without a time"),
        ("shop,a", "mail,a", "no translation for 'mail'"),
        ("shop,a", "shop,", "Row 0 .* names no customer_id, account_id, card_id"),
        ("shop,a", "shop,a b", "'card_a b', which is no card_id"),
        ("\n1,", "\none two,", "letters, digits and"),
        ("\n1,", "\n,", "rows without an id"),
    ],
)
def test_a_bad_value_is_named_with_its_column_or_row(old, new, message, tmp_path):
    with pytest.raises((MappingError, UnreadableFile), match=message):
        list(till(tmp_path, rows=ROWS.replace(old, new, 1)).transactions)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "till"', "", "name is missing"),
        ('kind = "datetime"', 'kind = "stardate"', "occurred_at.kind is 'stardate'; allowed: datetime, seconds, days"),
        ('kind = "datetime"', 'kind = "datetime"\nsorted = true', "occurred_at.sorted is not known"),
        ("minor_per_unit = 100", "minor_per_unit = 0", "minor_per_unit must be 1 or more"),
        ("minor_per_unit = 100", "minor_per_unit = true", r"minor_per_unit has the wrong type \(bool\)"),
        ('constant = "EUR"', 'constant = "euro"', "fields.currency gives 'euro', which is no currency"),
        ('web = "ecom"', 'web = "internet"', "fields.channel gives 'internet', which is no channel"),
        ('card_id = { column = "card", prefix = "card_" }', "", "must give at least one of customer_id"),
        ('prefix = "card_"', 'prefix = "1"', "fields.card_id.prefix must hold a letter"),
        ('currency = { constant = "EUR" }', "", "fields.currency is missing"),
        ("[fields]", "[fields]\ncolour = { constant = 'red' }", "fields.colour is not a field of a payment"),
        ('constant = "EUR"', 'constant = "EUR", column = "card"', "either `column` or `constant`"),
        ('prefix = "till-"', 'prefix = "till-', "is not valid TOML"),
    ],
)
def test_a_wrong_mapping_is_refused_before_the_first_row(old, new, message, tmp_path):
    with pytest.raises(MappingError, match=message):
        till(tmp_path, mapping=MINIMAL.replace(old, new, 1))


@pytest.mark.parametrize("delay", ["0", "-1"])
def test_a_label_cannot_come_before_its_payment(delay, tmp_path):
    label = f'[label]\ncolumn = "bad"\nfraud_values = ["1"]\ndelay_days = {delay}\nsource = "chargeback"\n'
    with pytest.raises(MappingError, match="delay_days must be positive"):
        till(tmp_path, mapping=MINIMAL + label)


def test_a_label_column_that_is_required_must_be_there(tmp_path):
    label = '[label]\ncolumn = "bad"\nfraud_values = ["1"]\ndelay_days = 1\nsource = "chargeback"\nrequired = true\n'
    with pytest.raises(UnknownLayout, match="no column bad"):
        till(tmp_path, mapping=MINIMAL + label)


def test_two_names_that_would_get_the_same_id_are_refused(tmp_path):
    twice = {**SPARKOV, "merchant": ["Kub, Mann", "Heller", "Kub Mann"]}
    with pytest.raises(MappingError, match="the same id 'Kub-Mann'"):
        list(open_stream(write(tmp_path / "tx.parquet", twice)).transactions)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("payments.xlsx", b"PK", "neither .parquet nor .csv"),
        ("payments.parquet", b"not a parquet file", "payments.parquet cannot be read"),
        ("payments.csv", b"", "payments.csv is empty"),
        ("missing.csv", None, "There is no file"),
    ],
)
def test_a_file_of_another_kind_is_refused(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableFile, match=message):
        open_stream(tmp_path / name, mapping="handbook")


def test_a_missing_mapping_file_is_named(tmp_path):
    with pytest.raises(MappingError, match="There is no mapping file .*none.toml"):
        load_mapping(tmp_path / "none.toml")
