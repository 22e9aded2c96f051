"""The net's benchmark from end to end on few rows: its figures are of the same net, and every table has its lines."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from kernels.net_margin import NetTable, net_totals
from kernels.net_margin.reference import table_rows
from tests.benchmarks.net_kernels import run
from tests.benchmarks.net_kernels.case import net_of, rows, whole_program
from tests.benchmarks.net_kernels.measure import batches, bins_of, one_row, skipping
from tests.benchmarks.net_kernels.peers import onnx_peers, torch_peers


@pytest.fixture(scope="module")
def net() -> NetTable:
    return net_of(0.3)


@pytest.fixture(scope="module")
def bins() -> np.ndarray:
    return bins_of(whole_program(), rows(64))


def test_peers_compute_about_the_same_net(net, bins):
    """Not the same: floats have no limit of 127, and round nothing."""
    given = np.ascontiguousarray(table_rows(net, bins).T)
    ours = net_totals(net, bins).astype(np.float64)
    for name, call in [*torch_peers(net, given, with_compile=False), *onnx_peers(net, given)]:
        out = call()
        theirs = np.ravel(out.numpy() if isinstance(out, torch.Tensor) else out[0])
        assert np.corrcoef(ours, theirs)[0, 1] > (0.99999 if "Runtime int8" in name else 0.9), name


def test_every_table_has_its_lines(net, bins, monkeypatch):
    found = {
        "instructions": "some",
        "one_row": one_row(whole_program(), rows(5), rounds=1),
        "batches": batches(net, bins, sizes=(1, 32), rounds=1, with_compile=False),
        "skipping": {density: skipping(net, bins, rounds=1) for density in (0.3, 1.0)},
    }
    text, figures = run.tables_of(found), json.loads(json.dumps(run.summary(found)))
    assert "whole" in text and text.count("ours int8") == 2 and text.count("density 0.30") == 3
    assert all(value > 0 for value in figures.values()), figures
    cell = found["skipping"][0.3][0]
    assert cell["rows"] == 1 and 0.5 < cell["zero_share"] < 0.9 and cell["skipped_share"] <= cell["zero_share"] + 1e-9
