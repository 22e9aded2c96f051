"""From the rows of a file to payments, by the rules of a mapping."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scoring.ingest.columns import ABSENT, DAY, SECOND, PaymentColumns
from scoring.ingest.contract import (
    FLAG_FIELDS,
    ID_PATTERN,
    MAX_AMOUNT_MINOR,
    NUMBER_FIELDS,
    OWNER_FIELDS,
    TEXT_FIELDS,
)
from scoring.ingest.errors import MappingError
from scoring.ingest.mapping import AmountRule, FieldRule, IdRule, Mapping, TimeRule
from scoring.ingest.tokens import FieldEncoder, dictionary_codes

_UNIT_US = {"seconds": SECOND, "days": DAY}


class Converter:
    """Converts one file, chunk by chunk, in the order of the stream."""

    def __init__(self, mapping: Mapping, *, has_label: bool, token_key: bytes | None) -> None:
        self._mapping = mapping
        self._has_label = has_label
        self._encoders = {
            name: FieldEncoder(name, rule, token_key)
            for name, rule in mapping.fields.items()
            if name in TEXT_FIELDS and rule.column is not None
        }
        self._ties = TieBreaker(mapping.occurred_at.tie_step_us)

    def convert(self, table: pa.Table, rows: np.ndarray) -> PaymentColumns:
        """Convert a chunk; `rows` `int64 [N]` are the rows' numbers in the file, from 0.

        Raises:
            MappingError: a value that does not fit its field.
        """
        mapping = self._mapping
        codes, dictionaries = self._text_fields(table, rows)
        _check_owner(codes, rows)
        times = times_us(table[mapping.occurred_at.column], mapping.occurred_at)
        return PaymentColumns(
            id_prefix=mapping.transaction_id.prefix,
            id_values=_id_values(table, rows, mapping.transaction_id),
            occurred_us=self._ties.separate(times),
            amount_minor=_amounts(table[mapping.amount.column], rows, mapping.amount),
            codes=codes,
            dictionaries=dictionaries,
            numbers=_numbers(table, mapping),
            flags=_flags(table, mapping),
            label=self._labels(table),
        )

    def _text_fields(self, table: pa.Table, rows: np.ndarray) -> tuple[dict, dict]:
        codes: dict[str, np.ndarray] = {}
        dictionaries: dict[str, list[str]] = {}
        for name, rule in self._mapping.fields.items():
            if name not in TEXT_FIELDS:
                continue
            if rule.token == "row_number":
                codes[name] = np.arange(len(rows), dtype=np.int32)
                dictionaries[name] = [f"{rule.prefix}{row}" for row in rows.tolist()]
            elif rule.column is None:
                codes[name] = np.zeros(len(rows), dtype=np.int32)
                dictionaries[name] = [rule.constant]
            else:
                codes[name], dictionaries[name] = self._encoders[name].encode(table[rule.column])
        return codes, dictionaries

    def _labels(self, table: pa.Table) -> np.ndarray:
        rule = self._mapping.label
        if rule is None or not self._has_label:
            return np.zeros(table.num_rows, dtype=np.uint8)
        codes, values = dictionary_codes(table[rule.column])
        is_fraud = [value.strip().lower() in rule.fraud_values for value in values]
        return np.array([*is_fraud, False], dtype=np.uint8)[codes]


def _check_owner(codes: dict[str, np.ndarray], rows: np.ndarray) -> None:
    owners = [codes[name] for name in OWNER_FIELDS if name in codes]
    orphans = np.all([column == ABSENT for column in owners], axis=0)
    if orphans.any():
        raise MappingError(
            f"Row {int(rows[orphans.argmax()])} (counted from 0) names no {', '.join(OWNER_FIELDS)}.",
            remedy="Drop such rows, or map a column that names the payer.",
        )


class TieBreaker:
    """Moves each of several equal times in a row behind the one before it, across chunks."""

    def __init__(self, step_us: int) -> None:
        self._step_us = step_us
        self._last_time: int | None = None
        self._run_length = 0

    def separate(self, times: np.ndarray) -> np.ndarray:
        """Times `int64 [N]` with the k-th of a run of equal ones moved by k steps."""
        if self._step_us == 0 or len(times) == 0:
            return times
        index = np.arange(len(times))
        is_first = np.append(True, times[1:] != times[:-1])
        run_start = np.maximum.accumulate(np.where(is_first, index, 0))
        place = index - run_start
        if times[0] == self._last_time:
            place[run_start == 0] += self._run_length
        self._last_time = int(times[-1])
        self._run_length = int(place[-1]) + 1
        return times + place * self._step_us


def times_us(column: pa.ChunkedArray, rule: TimeRule) -> np.ndarray:
    """The column's times, `int64 [N]` microseconds since 1970-01-01 UTC."""
    if column.null_count:
        raise MappingError(f"Column {rule.column!r} has rows without a time.", remedy="Drop those rows first.")
    try:
        if rule.kind == "datetime":
            return _datetime_us(column)
        units = column.cast(pa.float64()).to_numpy()
        return rule.origin_us + np.rint(units * _UNIT_US[rule.kind]).astype(np.int64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OverflowError) as error:
        raise MappingError(
            f"Column {rule.column!r} cannot be read as {rule.kind} ({error}).",
            remedy="Set `kind` of [occurred_at] to what the column holds.",
        ) from None


def _datetime_us(column: pa.ChunkedArray) -> np.ndarray:
    if not (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
        column = _parsed(column)
    if not (pa.types.is_timestamp(column.type) and column.type.tz):
        column = column.cast(pa.timestamp("us"), safe=False)
    else:
        column = column.cast(pa.timestamp("us", "UTC"), safe=False)
    return column.cast(pa.int64()).to_numpy()


def _parsed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise pa.ArrowInvalid(f"the column holds {column.type}, not dates")
    has_offset = pc.match_substring_regex(column, r"(Z|[+-][0-9]{2}:?[0-9]{2})$")
    # Arrow refuses a mixture by itself; the first row tells which of the two to ask for.
    zone = "UTC" if len(column) and has_offset[0].as_py() else None
    return column.cast(pa.timestamp("us", zone))


def _id_values(table: pa.Table, rows: np.ndarray, rule: IdRule) -> np.ndarray:
    if rule.column is None:
        return rows
    column = table[rule.column]
    if column.null_count:
        raise MappingError(
            f"Column {rule.column!r} has rows without an id.",
            remedy="Drop `column` of [transaction_id] to number the rows instead.",
        )
    if pa.types.is_integer(column.type):
        return column.to_numpy().astype(np.int64)
    texts = column.cast(pa.string()).to_pylist()
    for text in texts:
        if not ID_PATTERN.match(rule.prefix + text):
            raise MappingError(
                f"Column {rule.column!r} gives an id that is empty, longer than 64 characters, or "
                "holds others than letters, digits and ._:-",
                remedy="Drop `column` of [transaction_id] to number the rows instead.",
            )
    return np.array(texts, dtype=object)


def _amounts(column: pa.ChunkedArray, rows: np.ndarray, rule: AmountRule) -> np.ndarray:
    try:
        units = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid as error:
        raise MappingError(
            f"Column {rule.column!r} cannot be read as an amount ({error}).",
            remedy="Name the column of the amount in [amount].",
        ) from None
    minor = np.rint(units * rule.minor_per_unit)
    # NaN fails both comparisons, so it is found here too.
    bad = ~((minor >= 0) & (minor <= MAX_AMOUNT_MINOR))
    if bad.any():
        row = int(rows[bad.argmax()])
        raise MappingError(
            f"Column {rule.column!r} has no amount from 0 to {MAX_AMOUNT_MINOR} minor units in row {row} (counted from 0).",
            remedy="Remove refunds and empty amounts from the file.",
        )
    return minor.astype(np.int64)


def _numbers(table: pa.Table, mapping: Mapping) -> dict[str, np.ndarray]:
    numbers = {}
    for name in NUMBER_FIELDS:
        rule = mapping.fields.get(name)
        if rule is None:
            continue
        if rule.column is None:
            numbers[name] = np.full(table.num_rows, float(rule.constant))
        else:
            column = table[rule.column].cast(pa.float64()).to_numpy(zero_copy_only=False)
            numbers[name] = column.astype(np.float64)
    return numbers


def _flags(table: pa.Table, mapping: Mapping) -> dict[str, np.ndarray]:
    return {name: _flag(table, name, mapping.fields[name]) for name in FLAG_FIELDS if name in mapping.fields}


def _flag(table: pa.Table, name: str, rule: FieldRule) -> np.ndarray:
    if rule.column is None:
        return np.full(table.num_rows, rule.constant, dtype=np.int8)
    codes, values = dictionary_codes(table[rule.column])
    known = {"true": True, "false": False, "1": True, "0": False, **rule.values}
    flags = []
    for value in values:
        flag = known.get(value, rule.default)
        if flag is None:
            raise MappingError(
                f"Column {rule.column!r} for field {name!r} has no translation for {value!r}.",
                remedy="Add it to `values`, or set a `default`.",
            )
        flags.append(flag)
    return np.array([*flags, ABSENT], dtype=np.int8)[codes]
