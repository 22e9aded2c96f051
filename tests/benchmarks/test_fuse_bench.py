"""`make bench-fuse` on one function and few sizes, and what its report says of losses."""

from __future__ import annotations

import json

import pytest
import torch

from tests.benchmarks.fuse import report, run
from tests.benchmarks.fuse.engines import COMPILE, EAGER, OURS, OVERHEAD, STATIC, difference
from tests.benchmarks.fuse.functions import CASES
from tests.benchmarks.fuse.measure import Effort

pytestmark = pytest.mark.needs_compiler


@pytest.fixture(scope="module")
def document():
    return run.run_benchmark(1, "window_scores", Effort(sizes=(1, 5), rounds=2, round_seconds=0.002))


def test_every_engine_is_measured_and_agrees(document):
    (case,) = document["cases"]
    assert {len(times) for times in case["times_us"].values()} == {5}
    assert set(case["difference"]) == {EAGER, COMPILE, OVERHEAD, STATIC, OURS}
    assert max(case["difference"].values()) < report.TOLERANCE
    assert case["operations"] == {EAGER: 7, OURS: 1}
    assert case["compilations"] == {COMPILE: 2, OURS: 1}, "dynamo compiles for one size, then for any"


def test_the_last_line_and_the_table_come_from_the_document_alone(document):
    read = json.loads(json.dumps(document))
    last = report.summary(read)
    assert last["functions"] == 1 and last["max_diff"] < report.TOLERANCE and "| window_scores | 5 |" in report.table(read)


def test_losses_are_kept():
    times = {EAGER: 9.0, COMPILE: 5.0, OVERHEAD: 6.0, STATIC: 4.0, OURS: 4.5}
    case = {"name": "f", "times_us": {"1": times, "8": {**times, OURS: 3.0}}}
    assert report.losses([case]) == ["f, 1 rows: torch.compile for one size 4.0 us, ours 4.5 us"]
    assert not report.is_faster(case) and report.is_faster({**case, "times_us": {"8": case["times_us"]["8"]}})


def test_a_difference_is_found():
    a = torch.randn(5, 3)
    assert difference(a, a.clone()) == 0 and difference(a + 1e-3 * a.abs().max(), a) > 5e-4
    assert difference(a, a.double()) == difference(a[:2], a) == float("inf")
    assert difference(torch.tensor([1]), torch.tensor([2])) == float("inf")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_same_batch_is_made_again_and_constants_do_not_depend_on_it(case):
    for a, b in zip(case.arguments(4), case.arguments(4), strict=True):
        assert torch.equal(a, b)
    varying = len(case.make(1, torch.Generator()))
    for a, b in zip(case.arguments(4)[varying:], case.arguments(7)[varying:], strict=True):
        assert torch.equal(a, b)
