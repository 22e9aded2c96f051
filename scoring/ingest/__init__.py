"""Files as streams of payments in the shape of the public API.

`open_stream` reads a CSV or Parquet file through a mapping (see `mappings/`), `read_columns` gives
the same rows as arrays, and `feed` merges payments and labels into one sequence by time.
"""

from scoring.ingest.columns import PaymentColumns
from scoring.ingest.errors import IngestError, MappingError, UnknownLayout, UnreadableFile
from scoring.ingest.feed import FeedItem, feed
from scoring.ingest.mapping import Mapping
from scoring.ingest.registry import detect_mapping, load_mapping, shipped_mappings
from scoring.ingest.stream import FileStream, open_stream, read_columns

__all__ = [
    "FeedItem",
    "FileStream",
    "IngestError",
    "Mapping",
    "MappingError",
    "PaymentColumns",
    "UnknownLayout",
    "UnreadableFile",
    "detect_mapping",
    "feed",
    "load_mapping",
    "open_stream",
    "read_columns",
    "shipped_mappings",
]
