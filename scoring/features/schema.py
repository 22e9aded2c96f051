"""Every feature, declared once: name, unit, meaning, and the window math behind it.

The contract of the windows (ties, lateness, missing values) is that of `kernels.velocity_windows`; docs/features.md
tells it with examples. Times are event times. NaN means "not known".
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from scoring.engine import Aggregation, FeatureColumn, FeatureSchema, WindowLayout

_MINUTE_US = 60_000_000
_HOUR_US = 60 * _MINUTE_US
DAY_US = 24 * _HOUR_US

WINDOWS = {"10m": 10 * _MINUTE_US, "1h": _HOUR_US, "24h": DAY_US, "7d": 7 * DAY_US, "30d": 30 * DAY_US}
RISK_WINDOWS = {"1d": DAY_US, "3d": 3 * DAY_US, "7d": 7 * DAY_US, "14d": 14 * DAY_US, "21d": 21 * DAY_US, "30d": 30 * DAY_US}
# A label is taken to be known this long after the event; a shorter delay would learn from what no one knew yet.
RISK_DELAY_US = 7 * DAY_US
REACH_US = RISK_DELAY_US + RISK_WINDOWS["30d"]
# Added to the standard deviation in a z-score: one major unit, so that a history of equal amounts does not explode.
DEVIATION_FLOOR_MINOR = 100.0
# Cash just under this many minor units is how reports are avoided.
REPORT_THRESHOLD_MINOR = 1_000_000

_NEAREST = ("latest", "2nd latest", "3rd latest", "4th latest", "5th latest")
_WORDS = {"10m": "10 minutes", "1h": "hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days"}


@dataclass(frozen=True)
class EntityKind:
    """A kind of entity whose events are remembered.

    Attributes:
        name: prefix of the feature names.
        key: the fields of the transaction that identify the entity; all must be present.
        distinct: the field whose different values are counted, or None.
        text: how the entity is called in a sentence.
        distinct_text: how the counted values are called.
        aggregations: what is reported for each of `windows`.
        windows: names out of WINDOWS.
        risk: whether delayed labels are reported.
        only_type: events of this transaction type alone, or None for all.
        since_last: whether the time since the last event is reported; False where another kind of the same key does.
        last_events: how many of the events before are told one by one.
    """

    name: str
    key: tuple[str, ...]
    distinct: str | None
    text: str
    distinct_text: str = ""
    aggregations: tuple[Aggregation, ...] = (
        Aggregation.COUNT,
        Aggregation.SUM,
        Aggregation.MEAN,
        Aggregation.MAXIMUM,
        Aggregation.DISTINCT,
        Aggregation.RATIO,
        Aggregation.ZSCORE,
    )
    windows: tuple[str, ...] = tuple(WINDOWS)
    risk: bool = False
    only_type: str | None = None
    since_last: bool = True
    last_events: int = 0


_COUNT, _SUM, _DISTINCT = Aggregation.COUNT, Aggregation.SUM, Aggregation.DISTINCT
KINDS = (
    EntityKind("card", ("card_id",), "merchant_id", "this card", "merchants", risk=True, last_events=5),
    EntityKind("customer", ("customer_id",), "device_id", "this customer", "devices", risk=True),
    EntityKind("merchant", ("merchant_id",), "card_id", "this merchant", "cards", risk=True),
    EntityKind("terminal", ("terminal_id",), "card_id", "this terminal", "cards", risk=True),
    EntityKind("device", ("device_id",), "card_id", "this device", "cards"),
    EntityKind("counterparty", ("counterparty_id",), "account_id", "this beneficiary", "paying accounts"),
    EntityKind(
        "customer_device", ("customer_id", "device_id"), None, "this customer on this device", "", (_COUNT,), ("24h", "30d")
    ),
    EntityKind(
        "customer_beneficiary",
        ("customer_id", "counterparty_id"),
        None,
        "this customer to this beneficiary",
        "",
        (_COUNT, _SUM),
        ("24h", "30d"),
    ),
    EntityKind("card_merchant", ("card_id", "merchant_id"), None, "this card at this merchant", "", (_COUNT,), ("30d",)),
    EntityKind(
        "card_country", ("card_id",), "country", "this card", "countries", (_DISTINCT,), ("1h", "24h", "7d"), since_last=False
    ),
    EntityKind(
        "account_cash",
        ("account_id",),
        None,
        "cash paid into this account",
        "",
        (_COUNT, _SUM),
        ("24h", "7d", "30d"),
        only_type="cash_deposit",
    ),
)

TYPES = ("card_payment", "transfer", "cash_withdrawal", "cash_deposit", "direct_debit")
CHANNELS = ("pos", "ecom", "atm", "moto", "branch", "mobile", "web", "api")

OWN_COLUMNS = (
    FeatureColumn("amount_minor", "minor units", "amount of this transaction"),
    FeatureColumn("hour_of_day", "hours", "hour of the day (UTC)"),
    FeatureColumn("day_of_week", "day number", "day of the week (Monday is 0)"),
    FeatureColumn("is_night", "0 or 1", "made between midnight and 6 o'clock (UTC)"),
    FeatureColumn("mcc", "code", "merchant category code"),
    FeatureColumn("is_abroad", "0 or 1", "made in another country than the card's or account's home"),
    FeatureColumn("card_present", "0 or 1", "card was present"),
    FeatureColumn("is_recurring", "0 or 1", "recurring payment"),
    FeatureColumn("is_round_amount", "0 or 1", "amount is a multiple of 100.00"),
    FeatureColumn("below_report_threshold", "0 or 1", "amount lies within 10 % below the reporting threshold"),
    *(FeatureColumn(f"type.{name}", "0 or 1", f"transaction type is {name.replace('_', ' ')}") for name in TYPES),
    *(FeatureColumn(f"channel.{name}", "0 or 1", f"channel is {name}") for name in CHANNELS),
)


def _window_columns(kind: EntityKind) -> list[tuple[FeatureColumn, Aggregation, int]]:
    """Return (column, aggregation, window index) for each feature of one kind."""
    columns = []
    for aggregation in kind.aggregations:
        for window in kind.windows:
            unit, text = _describe(kind, aggregation, _WORDS[window])
            columns.append(
                (
                    FeatureColumn(f"{kind.name}.{aggregation.name.lower()}.{window}", unit, text),
                    aggregation,
                    list(WINDOWS).index(window),
                )
            )
    if kind.since_last:
        column = FeatureColumn(f"{kind.name}.since_last", "seconds", f"time since the previous transaction of {kind.text}")
        columns.append((column, Aggregation.SINCE_LAST, 0))
    for r, risk in enumerate(RISK_WINDOWS if kind.risk else ()):
        of = f"of {kind.text} in the {risk[:-1]} days that ended {RISK_DELAY_US // DAY_US} days ago"
        name = f"{kind.name}.risk_{{}}.{risk}"
        columns += [
            (FeatureColumn(name.format("count"), "count", f"number of transactions {of}"), Aggregation.RISK_COUNT, r),
            (FeatureColumn(name.format("fraud"), "count", f"known frauds {of}"), Aggregation.RISK_FRAUD, r),
            (FeatureColumn(name.format("rate"), "share", f"share of known fraud {of}"), Aggregation.RISK_RATE, r),
        ]
    for i, nearest in enumerate(_NEAREST[: kind.last_events]):
        of, counterpart = f"the {nearest} transaction of {kind.text}", kind.distinct.removesuffix("_id")
        name = f"{kind.name}_last{i}_{{}}"
        columns += [
            (FeatureColumn(name.format("amount"), "minor units", f"amount of {of}"), Aggregation.LAST_AMOUNT, i),
            (FeatureColumn(name.format("gap"), "seconds", f"time since {of}"), Aggregation.LAST_GAP, i),
            (FeatureColumn(name.format("same"), "0 or 1", f"same {counterpart} as {of}"), Aggregation.LAST_SAME, i),
        ]
    return columns


def _describe(kind: EntityKind, aggregation: Aggregation, window: str) -> tuple[str, str]:
    over = f"of {kind.text} in the last {window}"
    return {
        Aggregation.COUNT: ("count", f"number of transactions {over}"),
        Aggregation.SUM: ("minor units", f"total amount {over}"),
        Aggregation.MEAN: ("minor units", f"mean amount {over}"),
        Aggregation.MAXIMUM: ("minor units", f"largest amount {over}"),
        Aggregation.DISTINCT: ("count", f"different {kind.distinct_text} {over}"),
        Aggregation.RATIO: ("times", f"amount compared with the mean {over}"),
        Aggregation.ZSCORE: ("standard deviations", f"amount's distance from the mean {over}"),
    }[aggregation]


_PER_KIND = [_window_columns(kind) for kind in KINDS]


@functools.cache
def current_schema() -> FeatureSchema:
    """Return the schema of the rows that `FeatureState` fills: the transaction's own columns, then the windows."""
    return FeatureSchema(OWN_COLUMNS + tuple(column for columns in _PER_KIND for column, _, _ in columns))


def window_layout(max_lateness_us: int) -> WindowLayout:
    """Return what the window store keeps; an entity remembers the longest look back plus the lateness that is allowed."""
    return WindowLayout(
        kinds=len(KINDS),
        window_us=tuple(WINDOWS.values()),
        risk_us=tuple(RISK_WINDOWS.values()),
        delay_us=RISK_DELAY_US,
        retention_us=REACH_US + max_lateness_us,
        deviation_floor=DEVIATION_FLOOR_MINOR,
        columns=tuple((k, int(aggregation), w) for k, columns in enumerate(_PER_KIND) for _, aggregation, w in columns),
    )
