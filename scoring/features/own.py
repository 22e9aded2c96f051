"""The features that need nothing but the transaction itself."""

from __future__ import annotations

import numpy as np

from scoring.features.columns import TransactionColumns
from scoring.features.schema import CHANNELS, DAY_US, OWN_COLUMNS, REPORT_THRESHOLD_MINOR, TYPES

_AT = {column.name: i for i, column in enumerate(OWN_COLUMNS)}
_HOUR_US = DAY_US // 24
_WEEK_HOURS = 7 * 24
_HOURS = np.arange(_WEEK_HOURS)
# What follows from few values is looked up, several columns at a time: a batch of one costs as many calls as one of thousands.
# The last row of a table is that of the code -1: not known.
_TIME_NAMES = ("hour_of_day", "day_of_week", "is_night")
# 1 January 1970 was a Thursday.
_TIMES = np.stack([_HOURS % 24, (_HOURS // 24 + 3) % 7, _HOURS % 24 < 6], axis=1).astype(np.float32)
_MCCS = np.append(np.arange(10_000), np.nan).astype(np.float32)
_FLAG_NAMES = ("card_present", "is_recurring")
_FLAGS = np.array([0, 1, np.nan], np.float32)
_ONE_HOT_NAMES = (*(f"type.{name}" for name in TYPES), *(f"channel.{name}" for name in CHANNELS))
_ONE_HOTS = np.concatenate(
    [np.repeat(np.eye(len(TYPES)), len(CHANNELS), axis=0), np.tile(np.eye(len(CHANNELS)), (len(TYPES), 1))], axis=1
).astype(np.float32)
_CLOSE_TO_REPORT = REPORT_THRESHOLD_MINOR * 9 // 10


def _run(names: tuple[str, ...]) -> slice:
    """Return the columns of these features, which the schema has side by side."""
    first = _AT[names[0]]
    if tuple(column.name for column in OWN_COLUMNS[first : first + len(names)]) != names:
        raise AssertionError(f"the schema must have {names} side by side")
    return slice(first, first + len(names))


_TIME_RUN, _FLAG_RUN, _ONE_HOT_RUN = _run(_TIME_NAMES), _run(_FLAG_NAMES), _run(_ONE_HOT_NAMES)
_AMOUNT_RUN = _run(("is_round_amount", "below_report_threshold"))


def fill_own_features(batch: TransactionColumns, x: np.ndarray) -> None:
    """Write the first len(OWN_COLUMNS) columns of x [n, F] float32."""
    amount, country, home = batch.amount_minor, batch.country, batch.home_country
    x[:, _AT["amount_minor"]] = amount
    x[:, _TIME_RUN] = _TIMES[batch.occurred_us // _HOUR_US % _WEEK_HOURS]
    x[:, _AT["mcc"]] = _MCCS[batch.mcc]
    x[:, _AT["is_abroad"]] = _FLAGS[np.where((country | home) < 0, -1, country != home)]
    x[:, _FLAG_RUN.start] = _FLAGS[batch.card_present]
    x[:, _FLAG_RUN.start + 1] = _FLAGS[batch.is_recurring]
    x[:, _AMOUNT_RUN.start] = (amount % 10_000 == 0) & (amount > 0)
    x[:, _AMOUNT_RUN.start + 1] = (amount >= _CLOSE_TO_REPORT) & (amount < REPORT_THRESHOLD_MINOR)
    x[:, _ONE_HOT_RUN] = _ONE_HOTS[batch.type_code * len(CHANNELS) + batch.channel_code]
