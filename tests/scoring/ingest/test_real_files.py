"""The published data sets themselves, where they are at hand."""

import os
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np
import pytest

from scoring.ingest import open_stream
from scoring.transactions import Transaction

DATA = Path(os.environ.get("RISKAPP_DATA_DIR", Path(__file__).resolve().parents[4] / "shared" / "data"))
FILES = {
    "handbook": ("handbook/handbook_raw.parquet", 1_754_155, 14_681),
    "sparkov": ("sparkov/sparkov_gen_seed4242_2024_transactions.parquet", 544_947, 5_778),
    "amlgentex": ("amlgentex_nordic3/transfers.parquet", 182_877, 1_893),
}


@pytest.fixture(params=FILES)
def published(request):
    path, rows, frauds = FILES[request.param]
    if not (DATA / path).is_file():
        pytest.skip(f"{path} is not in {DATA}; set RISKAPP_DATA_DIR to the folder of the data sets")
    return request.param, DATA / path, rows, frauds


def test_a_published_file_is_recognised_and_read_whole(published):
    name, path, rows, frauds = published
    stream = open_stream(path)
    columns = stream.columns()
    assert stream.mapping.name == name
    assert (len(columns), int(columns.label.sum())) == (rows, frauds)
    assert np.all(np.diff(columns.occurred_us) >= 0)
    assert len(np.unique(columns.id_values)) == rows


def test_its_payments_are_ones_that_the_api_accepts_and_equal_the_columns(published):
    _, path, _, _ = published
    stream = open_stream(path)
    bodies = list(islice(stream.transactions, 70_000))
    assert [msgspec.convert(body, Transaction).transaction_id for body in bodies]
    assert bodies == stream.columns().dicts(slice(0, 70_000))
