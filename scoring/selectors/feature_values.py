"""The feature row that a decision was made on, with the names that an analyst reads."""

from __future__ import annotations

import os.path
import re
from collections import defaultdict
from dataclasses import dataclass

from scoring.engine import FeatureColumn
from scoring.feature_rows import stored_row
from scoring.features.schema import current_schema
from scoring.models import Decision

OWN = "transaction"
KIND_OF_PAYMENT = "type and channel"
# "card_last0_amount" and the like: the payments before, one by one.
_PAST = re.compile(r"([a-z_]+_last)\d+_")
# What is left between the words that all windows share and the name of a window.
_BEFORE_WINDOW = re.compile(r"\s+(in|in the|in the last)?\s*$")

Named = tuple[FeatureColumn, float | None]


@dataclass(frozen=True, slots=True)
class FeatureValue:
    """One feature; `value` is None where it was unknown at the time."""

    name: str
    text: str
    unit: str
    value: float | None


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """One aggregation over each of its table's windows: `name`.<window> is the feature's name."""

    name: str
    text: str
    unit: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """Aggregations that share their windows, such as 10m 1h 24h."""

    windows: tuple[str, ...]
    rows: tuple[FeatureRow, ...]


@dataclass(frozen=True, slots=True)
class FeatureGroup:
    """The features of one kind of entity, in the order of the schema."""

    title: str
    known: int
    total: int
    singles: tuple[FeatureValue, ...]
    tables: tuple[FeatureTable, ...]


@dataclass(frozen=True, slots=True)
class FeatureValues:
    """`is_readable` is False where the row was written under a schema that this release no longer has, or is damaged.

    `damage` says what is wrong with the stored bytes, where something is.
    """

    schema_version: str
    is_readable: bool
    width: int
    groups: tuple[FeatureGroup, ...]
    damage: str = ""


def feature_values(decision: Decision) -> FeatureValues:
    """Name the stored row's values by the current schema, if it is the one that the row was written under."""
    schema, version = current_schema(), decision.feature_schema
    try:
        row = stored_row(decision.features)
    except ValueError as error:
        return FeatureValues(version, False, 0, (), str(error))
    if version != schema.version or row.size != schema.width:
        # Naming the values by another schema would be wrong without anybody noticing.
        return FeatureValues(version, False, row.size, ())
    groups: defaultdict[str, list[Named]] = defaultdict(list)
    for column, value in zip(schema.columns, row.tolist(), strict=True):
        # NaN is unknown, and is the only value that differs from itself.
        groups[_kind(column.name)].append((column, value if value == value else None))
    return FeatureValues(version, True, row.size, tuple(map(_group, groups, groups.values())))


def _kind(name: str) -> str:
    kind, dot, _ = name.partition(".")
    if past := _PAST.match(name):
        return past[1]
    if not dot:
        return OWN
    # "type.transfer" and the like: one column a possible value.
    return KIND_OF_PAYMENT if kind in ("type", "channel") else kind


def _group(title: str, named: list[Named]) -> FeatureGroup:
    by_aggregation: defaultdict[str, list[Named]] = defaultdict(list)
    singles = []
    for column, value in named:
        if column.name.count(".") >= 2:
            by_aggregation[column.name.rpartition(".")[0]].append((column, value))
        else:
            singles.append(FeatureValue(column.name, column.text, column.unit, value))
    tables: defaultdict[tuple[str, ...], list[FeatureRow]] = defaultdict(list)
    for name, members in by_aggregation.items():
        windows = tuple(column.name.rpartition(".")[2] for column, _ in members)
        tables[windows].append(_row(name, members))
    known = sum(value is not None for _, value in named)
    return FeatureGroup(
        title,
        known,
        len(named),
        tuple(singles),
        tuple(FeatureTable(windows, tuple(rows)) for windows, rows in tables.items()),
    )


def _row(name: str, members: list[Named]) -> FeatureRow:
    texts = [column.text for column, _ in members]
    text = texts[0] if len(texts) == 1 else _shared_words(texts)
    return FeatureRow(name, text, members[0][0].unit, tuple(value for _, value in members))


def _shared_words(texts: list[str]) -> str:
    """Return what the texts say whatever the window: "number of transactions of this card in the last hour" and "... in
    the last 7 days" share "number of transactions of this card"; whole words behind the window are kept as well."""
    start = _BEFORE_WINDOW.sub("", os.path.commonprefix(texts))
    behind = os.path.commonprefix([text[::-1] for text in texts])[::-1].partition(" ")[2]
    return f"{start}, {behind}" if " " in behind else start
