"""Parquet and CSV files behind one small interface: names, whole columns, batches."""

import csv
import gzip
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from scoring.ingest.errors import UnreadableFile

_DELIMITERS = ",;|\t"


class Tabular(Protocol):
    """A file of rows and named columns."""

    columns: tuple[str, ...]

    def read(self, columns: Iterable[str]) -> pa.Table: ...

    def batches(self, columns: Iterable[str], batch_rows: int) -> Iterator[pa.Table]: ...


def open_tabular(path: Path, *, numeric: Iterable[str] | None = None) -> Tabular:
    """Open a .parquet, .csv or .csv.gz file.

    Args:
        numeric: for CSV, the columns to read as float64; all others are read as text, so that
            nothing is guessed from the first rows.

    Raises:
        UnreadableFile: there is no such file, or it is none of these kinds, or it is broken.
    """
    if not path.is_file():
        raise UnreadableFile(f"There is no file {path}.", remedy="Check the path.")
    name = path.name.lower()
    if name.endswith((".parquet", ".pq")):
        return ParquetTabular(path)
    if name.endswith((".csv", ".csv.gz", ".txt", ".tsv")):
        return CsvTabular(path, numeric=frozenset(numeric or ()))
    raise UnreadableFile(f"{path.name} is neither .parquet nor .csv.", remedy="Convert it to one of these.")


class ParquetTabular:
    """A Parquet file; only the asked columns are decoded."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _readable(path):
            self.columns = tuple(pq.read_schema(path).names)

    def read(self, columns: Iterable[str]) -> pa.Table:
        with _readable(self._path):
            return pq.read_table(self._path, columns=list(columns), partitioning=None)

    def batches(self, columns: Iterable[str], batch_rows: int) -> Iterator[pa.Table]:
        with _readable(self._path), pq.ParquetFile(self._path) as file:
            for batch in file.iter_batches(batch_rows, columns=list(columns)):
                yield pa.Table.from_batches([batch])


class CsvTabular:
    """A CSV file with a header line; the delimiter is the one that the header uses most."""

    def __init__(self, path: Path, *, numeric: frozenset[str]) -> None:
        self._path = path
        self._numeric = numeric
        header = self._header_line()
        self._delimiter = max(_DELIMITERS, key=header.count)
        self.columns = tuple(next(csv.reader([header], delimiter=self._delimiter), ()))
        if not self.columns:
            raise UnreadableFile(f"{path.name} is empty.", remedy="Give a file with a header line.")

    def read(self, columns: Iterable[str]) -> pa.Table:
        with _readable(self._path), self._reader(columns, block_bytes=1 << 24) as reader:
            return reader.read_all()

    def batches(self, columns: Iterable[str], batch_rows: int) -> Iterator[pa.Table]:
        with _readable(self._path), self._reader(columns, block_bytes=1 << 22) as reader:
            for batch in reader:
                for start in range(0, batch.num_rows, batch_rows):
                    yield pa.Table.from_batches([batch.slice(start, batch_rows)])

    def _reader(self, columns: Iterable[str], block_bytes: int) -> arrow_csv.CSVStreamingReader:
        names = list(columns)
        types = {name: pa.float64() if name in self._numeric else pa.string() for name in names}
        return arrow_csv.open_csv(
            self._path,
            read_options=arrow_csv.ReadOptions(block_size=block_bytes),
            parse_options=arrow_csv.ParseOptions(delimiter=self._delimiter),
            convert_options=arrow_csv.ConvertOptions(include_columns=names, column_types=types, strings_can_be_null=True),
        )

    def _header_line(self) -> str:
        opener = gzip.open if self._path.name.lower().endswith(".gz") else open
        file: IO[str]
        with opener(self._path, "rt", encoding="utf-8-sig", newline="") as file:
            return file.readline().rstrip("\r\n")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise UnreadableFile(
            f"{path.name} cannot be read: {error}.", remedy="Check that the file is whole and that the mapping fits it."
        ) from error
