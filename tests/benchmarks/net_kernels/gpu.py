"""The whole program on a GPU, stage by stage: 65,536 rows in one captured graph, and each of its launches alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from kernels.bin_features.gpu_triton import bin_into
from kernels.gpu import DeviceTables, Outputs, allocate, upload
from kernels.net_margin import gpu_triton as net_gpu
from kernels.score_rows import gpu_cuda, gpu_triton, score_rows
from tests.benchmarks.gpu.forest_sizes import replayed_us
from tests.benchmarks.net_kernels.case import rows, whole_program, without_net

ROWS = 65_536
TOP = 4


def gpu_report(count: int = ROWS, seconds: float = 0.3) -> dict[str, Any]:
    """Return the microseconds of the whole, of its stages and of the program without the net; and whether the bits agree.

    `explained` is the sum of the stages as a share of the whole: each stage is replayed alone, so that it may pass 1.
    """
    tables = upload(whole_program(), "cuda:0")
    x = torch.from_numpy(rows(count)).to("cuda:0")
    out = allocate(tables, count, TOP, scratch=False)
    kernel = gpu_triton if gpu_cuda.refusal(tables, TOP) else gpu_cuda
    whole = replayed_us(lambda: kernel.score_rows(tables, x, None, TOP, "row_parallel", out), seconds)
    stages = {name: replayed_us(step, seconds) for name, step in stages_of(tables, x, out).items()}
    reduced = upload(without_net(whole_program()), "cuda:0")
    alone = allocate(reduced, count, TOP, scratch=False)
    return {
        "rows": count,
        "gpu": torch.cuda.get_device_name(0),
        "kernel": kernel.__name__.rsplit(".", 1)[-1],
        "program_us": whole,
        "stages_us": stages,
        "explained": sum(stages.values()) / whole,
        "reduced_program_us": replayed_us(lambda: gpu_cuda.score_rows(reduced, x, None, TOP, "row_parallel", alone), seconds),
        "bits_agree_with_cpu": _agrees(tables, x, out),
    }


def stages_of(tables: DeviceTables, x: torch.Tensor, out: Outputs) -> dict[str, Callable[[], object]]:
    """Return each launch of the whole program by its name."""
    net, scratch = tables.net, out.scratch
    assert net is not None
    width, table = net.first.shape[1], net.table
    return {
        "bins": lambda: bin_into(tables.cuts, x, None, scratch["bins"], scratch["derived"]),
        "net rows": lambda: net_gpu.find_rows(net, scratch["bins"], scratch["net_rows"]),
        f"net sums ({table.features} rows of {width})": lambda: net_gpu.add_rows(net, scratch["net_rows"], scratch["net_sums"]),
        "net layers": lambda: net_gpu.run_layers(net, scratch),
        "rules, forest, contributions": lambda: _fused_pass(tables, x, out),
    }


def _fused_pass(tables: DeviceTables, x: torch.Tensor, out: Outputs) -> None:
    gpu_cuda.bind_rows(tables, x, None, TOP, out).run(gpu_cuda._stream(x.device))


def _agrees(tables: DeviceTables, x: torch.Tensor, out: Outputs) -> bool:
    given = gpu_cuda.score_rows(tables, x, None, TOP, "row_parallel", out).to_host()
    some = slice(0, 4096)
    expected = score_rows(tables.tables, x[some].cpu().numpy(), None, TOP)
    names = ("margin", "top_features", "top_contributions")
    return all(np.array_equal(getattr(given, name)[some], getattr(expected, name)) for name in names)
