"""The GPU's variants without a GPU: a plain backend in place of graphs, and Triton's interpreter in place of a device."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inference_core.runtime import CostLine, CostTable, Device, DeviceKind, Ladder, cpu, default_executor, gpu
from inference_core.runtime.executor import Shape
from kernels.errors import KernelInputError
from kernels.gpu import Outputs, allocate
from kernels.score_rows import ScoreTables
from kernels.score_rows.reference import score_rows as reference
from tests.inference_core.runtime.tables import assert_same, rows, tables
from tests.strategies import examples

ROOT = Path(__file__).resolve().parents[3]
TABLES = tables(1)
HERE = Device(DeviceKind.CPU, 0, "torch on the CPU", "none")  # so that torch's tensors lie on the host
CUDA = Device(DeviceKind.CUDA, 0, "Test GPU", "sm_90")


class PlainBackend:
    """Graphs as they would be without a device: the work is done again, on the same buffers, which is checked."""

    def __init__(self) -> None:
        self.captures = self.replays = 0

    def pinned(self, rows: int, width: int, kind: torch.dtype) -> torch.Tensor:
        return torch.zeros((rows, width), dtype=kind)

    def capture(self, work):
        self.captures += 1
        work()

        def replay() -> None:
            self.replays += 1
            work()

        return replay


class PlainKernel:
    """The reference in the place of a kernel, which remembers what it was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, tuple[int, ...]]] = []

    def __call__(self, tables, x, memberships=None, top=0, variant="auto", out: Outputs | None = None) -> Outputs:
        out = allocate(tables, len(x), top) if out is None else out
        self.calls.append((variant, len(x), (x.data_ptr(), out.buffer.data_ptr())))
        scored = reference(tables.tables, x.numpy(), None if memberships is None else memberships.numpy(), top)
        bits = scored.bits
        pairs = {
            "margin": scored.margin, "top_features": scored.top_features, "top_contributions": scored.top_contributions,
            "hit": bits.hit.view(np.int64), "insufficient": bits.insufficient.view(np.int64), "error": bits.error.view(np.int64),
        }  # fmt: skip
        for name, value in pairs.items():
            getattr(out, name).copy_(torch.from_numpy(np.array(value)))
        return out


def on_device(of: ScoreTables = TABLES) -> gpu.OnDevice:
    return gpu.OnDevice(of, HERE, PlainBackend(), PlainKernel())


@examples(40)
@given(
    st.integers(0, 10**6),
    st.integers(1, 20),
    st.lists(st.integers(1, 20), min_size=1, max_size=5),
    st.integers(0, 5),
    st.booleans(),
    st.sampled_from(["tree_parallel", "row_parallel"]),
)
def test_a_graph_gives_the_bits_of_the_reference_batch_after_batch(seed, bucket, sizes, top, lists, parallel):
    of = tables(seed)
    program = gpu.GraphRows(on_device(of), parallel, 100).prepare(Shape(bucket, top, lists))
    for number, size in enumerate(min(size, bucket) for size in sizes):
        x, memberships = rows(of, seed + number, size)
        given_lists = memberships if lists else None
        assert_same(program.run(x, given_lists), reference(of, x, given_lists, top))


def test_a_graph_is_captured_once_and_works_on_the_same_memory_every_time():
    of = on_device()
    program = gpu.GraphRows(of, "row_parallel", 100).prepare(Shape(8, 2, True))
    for seed in range(4):
        program.run(*rows(TABLES, seed, 5))
    assert (of.backend.captures, of.backend.replays) == (1, 4)
    assert len({addresses for _, _, addresses in of.kernel(2).calls}) == 1
    assert {(variant, count) for variant, count, _ in of.kernel(2).calls} == {("row_parallel", 8)}


@pytest.mark.parametrize("make", [np.ascontiguousarray, np.asfortranarray, lambda x: np.repeat(x, 2, axis=0)[::2]])
@pytest.mark.parametrize("count", [0, 1, 33])
def test_a_plain_launch_takes_any_batch(make, count):
    x, memberships = rows(TABLES, 3, count)
    x = make(x)
    x.setflags(write=False)
    assert_same(gpu.Launch(on_device()).run(x, memberships, 3), reference(TABLES, x, memberships, 3))
    assert_same(gpu.Launch(on_device()).run(x, None, 0), reference(TABLES, x, None, 0))


@pytest.mark.parametrize(
    ("x", "top"), [(np.zeros((2, 5)), 0), (np.zeros((2, 4), np.float32), 0), (np.zeros((2, 5), np.float32), 6)]
)
def test_a_plain_launch_refuses_what_breaks_the_contract(x, top):
    with pytest.raises(KernelInputError):
        gpu.Launch(on_device()).run(x, None, top)


def test_a_ladder_chooses_between_cpu_and_gpu_by_their_lines():
    of = on_device()
    cpu_static, cpu_dynamic = cpu.variants(TABLES, HERE)
    graphs = gpu.GraphRows(of, "row_parallel", 1000)
    graphs.name, launch = "cuda:0 graph", gpu.Launch(of)
    launch.name = "cuda:0 launch"
    ours = Ladder(TABLES, [*cpu_static, graphs], [*cpu_dynamic, launch])
    figures = {"cpu:0 prepared": (2, 1), "cpu:0 blocked": (5, 0.9), "cuda:0 graph": (15, 0.001), "cuda:0 launch": (60, 0.0005)}
    ours.use_costs([CostTable("x", tuple(CostLine(name, *line) for name, line in figures.items()))])
    ours.warm(64, tops=(2,), lists=(True,))
    by_rows = {shape.rows: name for name, shape, _ in ours.programs()}
    assert by_rows[1] == by_rows[9] == "cpu:0 prepared" and by_rows[30] == "cuda:0 graph"
    x, memberships = rows(TABLES, 7, 9_000)
    assert_same(ours.run(x, memberships, 2), reference(TABLES, x, memberships, 2))
    assert of.kernel(2).calls[-1][:2] == ("auto", 9_000), "beyond the ladder: a launch"
    assert_same(ours.run(x[:25], memberships[:25], 2), reference(TABLES, x[:25], memberships[:25], 2))
    assert ours.counters().hits == 1


def test_graphs_are_made_beside_the_traffic_and_until_measured_the_cpu_works():
    ours = default_executor(TABLES, (HERE, CUDA))
    x, memberships = rows(TABLES, 7, 5)
    for _ in range(5):
        assert_same(ours.run(x, memberships, 2), reference(TABLES, x, memberships, 2))
    assert {name for name, _, _ in ours.programs()} == {"cpu:0 prepared"}
    assert all(not variant.quick_to_build for variant in gpu.variants(TABLES, CUDA)[0])


@pytest.mark.parametrize(
    ("kind", "static"),
    [
        (DeviceKind.CUDA, ["one row", "graph tree_parallel", "graph row_parallel"]),
        (DeviceKind.ROCM, ["graph tree_parallel", "graph row_parallel"]),
        (DeviceKind.ASCEND, []),
    ],
)
def test_each_kind_of_device_has_its_variants(kind, static):
    device = Device(kind, 1, "Test", "x")
    found = gpu.variants(TABLES, device)
    assert [variant.name for variant in found[0]] == [f"{kind}:1 {name}" for name in static]
    assert [variant.name for variant in found[1]] == [f"{kind}:1 launch"]


def test_why_the_cuda_kernel_does_not_run_a_program_is_asked_and_said_once(monkeypatch, caplog):
    asked = []
    monkeypatch.setattr(gpu, "_ask_cuda_kernel", lambda tables, top: asked.append(top) or "there is no NVRTC")
    device_tables = SimpleNamespace(cache={})
    for _ in range(3):
        assert gpu.cuda_refusal(device_tables, CUDA, 2) == "there is no NVRTC"
    assert asked == [2] and caplog.text.count("there is no NVRTC") == 1
    with pytest.raises(KernelInputError, match="there is no NVRTC"):
        of = on_device()
        of.device, of._tables = CUDA, device_tables
        gpu.OneRow(of).prepare(Shape(1, 2, False))
    assert gpu.cuda_refusal(device_tables, HERE, 2) == "the device is not one of NVIDIA's"


_INTERPRETED = """
import json
from tests.gpu.interpreter import mend_interpreter
mend_interpreter()
from inference_core.runtime import gpu
from inference_core.runtime.executor import Shape
from kernels.score_rows.reference import score_rows as reference
from tests.inference_core.runtime.tables import assert_same, rows, tables
from tests.inference_core.runtime.test_gpu import HERE, PlainBackend
wrong = []
for seed, trees in ((1, 3), (2, 0)):
    of = tables(seed, trees=trees)
    there = gpu.OnDevice(of, HERE, PlainBackend())
    for parallel in ("tree_parallel", "row_parallel"):
        for lists in (False, True):
            program = gpu.GraphRows(there, parallel, 8).prepare(Shape(4, 2, lists))
            for count in (3, 4):
                x, memberships = rows(of, seed + count, count)
                memberships = memberships if lists else None
                launched = gpu.Launch(there).run(x, memberships, 2)
                for name, scored in ((parallel, program.run(x, memberships)), ("launch", launched)):
                    try:
                        assert_same(scored, reference(of, x, memberships, 2))
                    except AssertionError as error:
                        wrong.append(f"{seed} {name} {lists} {count}: {error}")
print(json.dumps(wrong))
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_the_triton_kernel_behind_the_variants_gives_the_bits_of_the_reference():
    command = [sys.executable, "-W", "ignore", "-c", _INTERPRETED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
