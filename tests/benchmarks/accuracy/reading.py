"""From a file of the Handbook's layout to payments."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scoring.ingest import IngestError, read_columns
from tests.benchmarks.accuracy.payments import Payments
from tests.benchmarks.accuracy.protocol import ProtocolError


def read_payments(path: Path) -> Payments:
    """Read a CSV or Parquet file with the columns that the shipped `handbook` mapping names; sorted by time.

    Raises:
        ProtocolError: the file cannot be read, has another layout, no payments or no labels.
    """
    try:
        columns = read_columns(path, mapping="handbook")
    except IngestError as error:
        raise ProtocolError(str(error)) from error
    if not len(columns):
        raise ProtocolError(f"{path.name} holds no payments")
    if not columns.label.any():
        raise ProtocolError(f"{path.name} names no fraud in TX_FRAUD: nothing can be learned or measured")
    for field in ("card_id", "terminal_id"):
        if np.any(columns.codes[field] < 0):
            raise ProtocolError(f"{path.name} has payments without a {field}; the protocol needs one for each")
    return Payments(
        occurred_us=columns.occurred_us,
        amount_minor=columns.amount_minor,
        card=columns.codes["card_id"],
        terminal=columns.codes["terminal_id"],
        fraud=columns.label,
    )
