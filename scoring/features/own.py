"""The features that need nothing but the transaction itself."""

from __future__ import annotations

import numpy as np

from scoring.features.columns import TransactionColumns
from scoring.features.schema import CHANNELS, DAY_US, OWN_COLUMNS, REPORT_THRESHOLD_MINOR, TYPES

_AT = {column.name: i for i, column in enumerate(OWN_COLUMNS)}
_FIRST_TYPE, _FIRST_CHANNEL = _AT[f"type.{TYPES[0]}"], _AT[f"channel.{CHANNELS[0]}"]
_HOUR_US = DAY_US // 24


def fill_own_features(batch: TransactionColumns, x: np.ndarray) -> None:
    """Write the first len(OWN_COLUMNS) columns of x [n, F] float32."""
    rows = np.arange(len(batch))
    hour = (batch.occurred_us // _HOUR_US) % 24
    amount = batch.amount_minor
    x[:, _AT["amount_minor"]] = amount
    x[:, _AT["hour_of_day"]] = hour
    x[:, _AT["day_of_week"]] = (batch.occurred_us // DAY_US + 3) % 7  # 1 January 1970 was a Thursday
    x[:, _AT["is_night"]] = hour < 6
    x[:, _AT["mcc"]] = batch.mcc
    x[:, _AT["is_abroad"]] = batch.is_abroad
    x[:, _AT["card_present"]] = batch.card_present
    x[:, _AT["is_recurring"]] = batch.is_recurring
    x[:, _AT["is_round_amount"]] = (amount % 10_000 == 0) & (amount > 0)
    x[:, _AT["below_report_threshold"]] = (amount >= REPORT_THRESHOLD_MINOR * 9 // 10) & (amount < REPORT_THRESHOLD_MINOR)
    x[:, _FIRST_TYPE : _FIRST_CHANNEL + len(CHANNELS)] = 0
    x[rows, _FIRST_TYPE + batch.type_code] = 1
    x[rows, _FIRST_CHANNEL + batch.channel_code] = 1
