"""The worked example of docs/features.md, recomputed, so that the contract that people read is the one that runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from scoring.features.schema import KINDS, OWN_COLUMNS, current_schema
from scoring.features.state import FeatureState
from tests.benchmarks.accuracy.payments import Payments

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "features.md").read_text()
MONDAY_US = 1_772_409_600_000_000  # 2026-03-02
DAYS = ("Monday", "Tuesday")


def example() -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of the example's table."""
    lines = TEXT[TEXT.index("| arrival |") :].splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return table[0], table[2 : 2 + [line.startswith("|") for line in lines].index(False) - 2]


def time_us(text: str) -> int:
    day, clock = text.split()
    hours, minutes, seconds = map(int, clock.split(":"))
    return MONDAY_US + (((DAYS.index(day) * 24 + hours) * 60 + minutes) * 60 + seconds) * 1_000_000


def test_the_example_is_what_the_state_answers():
    header, rows = example()
    n = len(rows)
    assert n == 6
    nobody = np.zeros(n, np.int32)
    payments = Payments(
        occurred_us=np.array([time_us(row[1]) for row in rows]),
        amount_minor=np.array([int(row[2]) for row in rows]),
        card=nobody,
        terminal=nobody,
        fraud=nobody.astype(np.uint8),
    )
    state = FeatureState(max_lateness_days=7)
    x = state.process(payments.columns(slice(0, n), state.tokens)).x
    for column in range(3, len(header)):
        told = np.array([float(row[column]) for row in rows], np.float32)
        ours = x[:, current_schema().index(f"card.{header[column]}")]
        np.testing.assert_allclose(ours, told, rtol=5e-4, err_msg=header[column])


@pytest.mark.parametrize("prefix", ["card", "customer", "merchant", "terminal", "device", "counterparty"])
def test_the_number_of_columns_of_each_party_is_the_documents(prefix):
    count = sum(name.startswith(f"{prefix}.") for name in current_schema().names)
    row = next(line for line in TEXT.splitlines() if line.startswith("| ") and f"`{prefix}`" in line)
    assert re.search(r"\| (\d+)", row)[1] == str(count)


def test_the_number_of_all_columns_is_the_documents():
    assert f"A row has {current_schema().width}\nfloat32 columns" in TEXT
    assert f"| the payment's own | {len(OWN_COLUMNS)} |" in TEXT
    assert "`card_last0_` to `card_last4_` | 3 each" in TEXT
    parties = {"card", "customer", "merchant", "terminal", "device", "counterparty"}
    special = [kind.name for kind in KINDS if kind.name not in parties]
    count = sum(name.split(".")[0] in special for name in current_schema().names)
    assert f"| pairs and special kinds | {count} |" in TEXT
