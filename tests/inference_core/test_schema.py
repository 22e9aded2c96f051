"""The feature schema."""

from __future__ import annotations

import pytest

from inference_core import FeatureColumn, FeatureSchema, SchemaMismatch

COLUMNS = (FeatureColumn("a", "count", "one"), FeatureColumn("b", "seconds", "two"))


def test_columns_have_names_positions_and_a_width():
    schema = FeatureSchema(COLUMNS)
    assert (schema.names, schema.width, schema.index("b")) == (("a", "b"), 2, 1)


def test_names_are_unique():
    with pytest.raises(SchemaMismatch, match=r"repeated: \['a'\]"):
        FeatureSchema((*COLUMNS, COLUMNS[0]))


def test_an_unknown_name_is_told():
    with pytest.raises(SchemaMismatch, match="no feature 'c'"):
        FeatureSchema(COLUMNS).index("c")


def test_version_follows_names_units_and_order_but_not_wording():
    version = FeatureSchema(COLUMNS).version
    assert len(version) == 16 and int(version, 16) >= 0
    assert FeatureSchema((FeatureColumn("a", "count", "reworded"), COLUMNS[1])).version == version
    others = [
        COLUMNS[::-1],
        COLUMNS[:1],
        (FeatureColumn("a", "seconds", "one"), COLUMNS[1]),
        (FeatureColumn("x", "count", "one"), COLUMNS[1]),
    ]
    assert len({version, *(FeatureSchema(tuple(columns)).version for columns in others)}) == 5


def test_a_schema_survives_json():
    assert FeatureSchema.from_json(FeatureSchema(COLUMNS).to_json()) == FeatureSchema(COLUMNS)
