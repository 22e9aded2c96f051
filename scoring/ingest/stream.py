"""A file as a stream of payments and labels in the shape of the public API."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scoring.ingest.columns import DAY, PaymentColumns, rfc3339
from scoring.ingest.contract import NUMBER_FIELDS
from scoring.ingest.convert import Converter, times_us
from scoring.ingest.errors import MappingError
from scoring.ingest.mapping import LabelRule, Mapping
from scoring.ingest.registry import check_columns, detect_mapping, load_mapping
from scoring.ingest.tabular import Tabular, open_tabular

_BATCH_ROWS = 65_536


class FileStream:
    """Payments and labels of one file. Every iteration starts from the first row again.

    The file is read in batches. Only where the mapping asks for event order and the file is not in
    that order already are the mapped columns held in memory and sorted.
    """

    def __init__(self, path: Path, mapping: Mapping, token_key: bytes | None) -> None:
        self.path = path
        self.mapping = mapping
        self._token_key = token_key
        self._file = _open(path, mapping)
        check_columns(mapping, self._file.columns, file_name=path.name)
        present = set(self._file.columns)
        self._has_label = mapping.label is not None and mapping.label.column in present
        self._columns = sorted(mapping.columns | (mapping.optional_columns & present))

    @property
    def has_labels(self) -> bool:
        """Whether the file says which payments were fraud."""
        return self._has_label

    @property
    def transactions(self) -> Iterator[dict[str, Any]]:
        """The payments as bodies of `POST /api/v1/decisions`, in the order of the stream."""
        for _, body in self.timed_transactions():
            yield body

    @property
    def labels(self) -> list[dict[str, Any]]:
        """One report for each fraud as a body of `POST /api/v1/labels`, by `reported_at`."""
        return [body for _, body in self.timed_labels()]

    def timed_transactions(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The payments, each with its time in microseconds since 1970-01-01 UTC."""
        for chunk in self.chunks():
            yield from zip(chunk.occurred_us.tolist(), chunk.dicts(), strict=True)

    def timed_labels(self) -> list[tuple[int, dict[str, Any]]]:
        """The labels, each with the time at which it is reported, in that order."""
        if not self._has_label:
            return []
        reports = [pair for chunk in self.chunks() for pair in _reports(chunk, self.mapping.label)]
        return sorted(reports, key=lambda pair: pair[0])

    def chunks(self, batch_rows: int = _BATCH_ROWS) -> Iterator[PaymentColumns]:
        """The payments as arrays, at most `batch_rows` at a time."""
        converter = self._converter()
        for table, rows in self._tables(batch_rows):
            yield converter.convert(table, rows)

    def columns(self) -> PaymentColumns:
        """The whole file as arrays: one pass, no Python object for each payment."""
        table = self._file.read(self._columns)
        order = self._order(table[self.mapping.occurred_at.column])
        if order is None:
            return self._converter().convert(table, np.arange(table.num_rows))
        return self._converter().convert(table.take(pa.array(order)), order)

    def _converter(self) -> Converter:
        return Converter(self.mapping, has_label=self._has_label, token_key=self._token_key)

    def _tables(self, batch_rows: int) -> Iterator[tuple[pa.Table, np.ndarray]]:
        time_column = self.mapping.occurred_at.column
        order = None
        if self.mapping.occurred_at.sort:
            order = self._order(self._file.read([time_column])[time_column])
        if order is not None:
            table = self._file.read(self._columns)
            for start in range(0, len(order), batch_rows):
                rows = order[start : start + batch_rows]
                yield table.take(pa.array(rows)), rows
            return
        first = 0
        for table in self._file.batches(self._columns, batch_rows):
            yield table, np.arange(first, first + table.num_rows)
            first += table.num_rows

    def _order(self, column: pa.ChunkedArray) -> np.ndarray | None:
        """The stable order by time; None where the mapping asks for none or it holds already."""
        if not self.mapping.occurred_at.sort:
            return None
        times = times_us(column, self.mapping.occurred_at)
        if np.all(times[1:] >= times[:-1]):
            return None
        return np.argsort(times, kind="stable")


def open_stream(
    path: str | Path,
    *,
    mapping: Mapping | str | Path | None = None,
    token_key: bytes | None = None,
) -> FileStream:
    """Open a CSV or Parquet file as a stream of payments.

    Args:
        mapping: a mapping, the name of a shipped one, or the path of a mapping file; without it
            the shipped mapping that fits the file's columns is taken.
        token_key: secret of at least 16 bytes for the mappings that hash a column (card numbers).
            The same key gives the same tokens.

    Raises:
        UnreadableFile: no such file, or neither CSV nor Parquet.
        UnknownLayout: no mapping fits, or a column that the mapping needs is missing.
        MappingError: the mapping is wrong, or it needs a `token_key` and none is given.
    """
    path = Path(path)
    if mapping is None:
        mapping = detect_mapping(open_tabular(path).columns)
    elif not isinstance(mapping, Mapping):
        mapping = load_mapping(mapping)
    if mapping.needs_token_key and (token_key is None or len(token_key) < 16):
        raise MappingError(
            f"The mapping {mapping.name!r} replaces a column by a keyed hash.",
            remedy="Give a token_key of at least 16 bytes.",
        )
    return FileStream(path, mapping, token_key)


def read_columns(
    path: str | Path,
    *,
    mapping: Mapping | str | Path | None = None,
    token_key: bytes | None = None,
) -> PaymentColumns:
    """Read a whole file as arrays; arguments and errors are those of `open_stream`."""
    return open_stream(path, mapping=mapping, token_key=token_key).columns()


def _open(path: Path, mapping: Mapping) -> Tabular:
    numeric = {mapping.amount.column}
    numeric |= {rule.column for name, rule in mapping.fields.items() if name in NUMBER_FIELDS}
    if mapping.occurred_at.kind != "datetime":
        numeric.add(mapping.occurred_at.column)
    return open_tabular(path, numeric=numeric - {None})


def _reports(chunk: PaymentColumns, rule: LabelRule) -> Iterator[tuple[int, dict[str, Any]]]:
    frauds = np.flatnonzero(chunk.label)
    occurred = chunk.occurred_us[frauds]
    reported = occurred + round(rule.delay_days * DAY)
    for transaction_id, occurred_at, reported_at, reported_us in zip(
        chunk.transaction_ids(frauds),
        rfc3339(occurred),
        rfc3339(reported),
        reported.tolist(),
        strict=True,
    ):
        yield (
            reported_us,
            {
                "label_id": f"lbl-{transaction_id}"[:64],
                "transaction_id": transaction_id,
                "label": "fraud",
                "source": rule.source,
                "occurred_at": occurred_at,
                "reported_at": reported_at,
            },
        )
