"""The stored feature row with its names."""

from __future__ import annotations

import numpy as np
import pytest

from scoring.feature_rows import packed_row, stored_row
from scoring.features.schema import current_schema
from scoring.selectors.feature_values import feature_values
from tests.factories import build_decision


def row_with(**known: float) -> bytes:
    schema = current_schema()
    row = np.full(schema.width, np.nan, "<f4")
    for name, value in known.items():
        row[schema.index(name.replace("__", "."))] = value
    return packed_row(row.astype(np.float32))


def by_title(decision):
    return {group.title: group for group in feature_values(decision).groups}


def test_every_feature_of_the_schema_is_shown_once():
    found = feature_values(build_decision(features=row_with()))
    names = [v.name for g in found.groups for v in g.singles]
    names += [f"{r.name}.{w}" for g in found.groups for t in g.tables for r in t.rows for w in t.windows]
    assert sorted(names) == sorted(current_schema().names)
    assert sum(g.total for g in found.groups) == found.width == current_schema().width


def test_values_stand_at_their_windows_and_nan_is_unknown():
    card = by_title(build_decision(features=row_with(card__count__24h=7, card__since_last=60)))["card"]
    (row,) = [r for t in card.tables for r in t.rows if r.name == "card.count"]
    (table,) = [t for t in card.tables if row in t.rows]
    assert dict(zip(table.windows, row.values, strict=True))["24h"] == 7
    assert sum(v is not None for v in row.values) == 1
    assert [v.value for v in card.singles] == [60] and card.known == 2


def test_the_last_payments_of_a_card_are_a_group_of_their_own():
    last = by_title(build_decision(features=row_with(card_last1_same=1)))["card_last"]
    assert last.total == len(last.singles) == 15 and last.known == 1 and last.tables == ()
    (same,) = [value for value in last.singles if value.value is not None]
    assert same.text == "same merchant as the 2nd latest transaction of this card"


def test_texts_name_the_aggregation_without_its_window():
    card = by_title(build_decision(features=row_with()))["card"]
    texts = {row.name: row.text for table in card.tables for row in table.rows}
    assert texts["card.count"] == "number of transactions of this card"
    assert texts["card.risk_count"] == "number of transactions of this card, days that ended 7 days ago"


SHORTER = packed_row(np.ones(current_schema().width - 1, np.float32))


@pytest.mark.parametrize("given", [{"feature_schema": "0" * 16, "features": row_with()}, {"features": SHORTER}])
def test_a_row_of_another_schema_is_not_named(given):
    found = feature_values(build_decision(**given))
    assert not found.is_readable and found.groups == () and found.damage == ""
    assert found.width == stored_row(given["features"]).size


@pytest.mark.parametrize("damaged", [b"\x01", row_with(amount_minor=7)[:-1], b"\x00\x00\x80\x3f" * 3])
def test_a_damaged_row_is_said(damaged):
    found = feature_values(build_decision(features=damaged))
    assert not found.is_readable and found.groups == () and found.width == 0
    assert found.damage.startswith("packed row 0 ")


def test_no_row_is_no_damage():
    found = feature_values(build_decision(features=b""))
    assert (found.is_readable, found.width, found.damage) == (False, 0, "")
