"""The declared features."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from scoring.engine import WindowLayout
from scoring.features.schema import CHANNELS, KINDS, OWN_COLUMNS, RISK_DELAY_US, TYPES, WINDOWS, current_schema, window_layout
from tests.product_source import ROOT

NAMES = current_schema().names


def test_names_are_unique_and_well_formed():
    assert len(set(NAMES)) == len(NAMES) > 200
    for name in NAMES:
        assert re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+){0,2}", name), name


def test_every_feature_has_a_unit_and_words():
    for column in current_schema().columns:
        assert column.unit and len(column.text) > 5, column.name
    texts = [column.text for column in current_schema().columns]
    assert len(set(texts)) == len(texts), "two features that read the same cannot be told apart"


@pytest.mark.parametrize("kind", ["card", "customer", "merchant", "terminal", "device", "counterparty"])
@pytest.mark.parametrize("window", ["10m", "1h", "24h", "7d", "30d"])
@pytest.mark.parametrize("what", ["count", "sum", "mean", "maximum", "distinct", "ratio"])
def test_each_party_has_velocity_over_each_window(kind, what, window):
    assert f"{kind}.{what}.{window}" in NAMES


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS if kind.name != "card_country"])
def test_each_kind_of_entity_says_when_it_was_last_seen(kind):
    assert f"{kind}.since_last" in NAMES


def test_the_last_five_payments_of_a_card_are_told_one_by_one():
    told = [name for name in NAMES if name.startswith("card_last")]
    assert told == [f"card_last{i}_{what}" for i in range(5) for what in ("amount", "gap", "same")]
    units = [current_schema().columns[current_schema().index(name)].unit for name in told[:3]]
    assert units == ["minor units", "seconds", "0 or 1"]


@pytest.mark.parametrize("kind", ["terminal", "merchant"])
@pytest.mark.parametrize("what", ["risk_count", "risk_fraud", "risk_rate"])
@pytest.mark.parametrize("window", ["1d", "7d", "30d"])
def test_delayed_label_risk_per_terminal_and_merchant(kind, what, window):
    assert f"{kind}.{what}.{window}" in NAMES


def test_the_transaction_s_own_columns_come_first():
    assert NAMES[: len(OWN_COLUMNS)] == tuple(column.name for column in OWN_COLUMNS)
    assert {f"type.{name}" for name in TYPES} | {f"channel.{name}" for name in CHANNELS} <= set(NAMES)


def test_the_layout_fills_every_window_column_once():
    layout = window_layout(0)
    assert isinstance(layout, WindowLayout) and len(layout.columns) == len(NAMES) - len(OWN_COLUMNS)
    assert len(set(layout.columns)) == len(layout.columns)
    assert layout.window_us == tuple(WINDOWS.values()) and layout.delay_us == RISK_DELAY_US


def test_an_entity_remembers_the_longest_look_back_and_the_allowed_lateness():
    assert window_layout(5).retention_us == window_layout(0).reach_us + 5


def test_the_version_is_the_same_in_every_process():
    """A release that was built elsewhere is refused by its schema version, which therefore must not depend on the process."""
    code = "from scoring.features.schema import current_schema; print(current_schema().version)"
    versions = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert versions == {current_schema().version}
