"""B3: a forest of 200 x 6 x 32 on the GPU, from 1 to 10,000,000 rows, beside nvForest in the same run."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable

import numpy as np
import torch
import triton

from kernels.bin_features.gpu_triton import bin_features
from kernels.forest_margin import gpu_triton as forest_triton
from kernels.gpu import DeviceTables, allocate, upload
from kernels.score_rows import gpu_cuda, gpu_triton
from tests.benchmarks.gpu.forest import Forest, random_forest, random_rows
from tests.benchmarks.gpu.limits import Limits, driver_version, measure_limits
from tests.benchmarks.gpu.peer import Peer

SIZES = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
TOP = 4
_TRITON_SIZES = (1, 1_000, 1_000_000)


def benchmark(seconds: float = 0.25) -> dict:
    """Return environment, limits, one line a size and the latency of one row; about `seconds` for each figure."""
    forest = random_forest(missing_left=0.5)
    tables, limits = upload(forest.tables, "cuda:0"), measure_limits()
    peer, peer_line = _peer(forest)
    x = torch.from_numpy(random_rows(max(SIZES))).to("cuda:0")
    sizes = [_size(tables, x[:rows], limits, peer, seconds) for rows in SIZES]
    narrow = upload(random_forest(missing_left=0.5, scale=26).tables, "cuda:0")
    at_most = x[: SIZES[-2]]
    return {
        "environment": _environment(), "peer": peer_line, "forest": "200 trees, depth 6, 32 features, 50 rules",
        "limits": {"copy_bytes_per_s": limits.bytes_per_s, "shared_loads_per_s": limits.shared_loads_per_s},
        "largest_difference_to_peer": None if peer is None else _difference(tables, peer, x[:100_000]),
        "sizes": sizes,
        "sums_of_32_bits": {"rows": len(at_most), "full_us": _full_us(narrow, at_most, seconds)},
        "one_row": _one_row(tables, peer, x[:2_000].cpu().numpy(), x),
    }  # fmt: skip


def _environment() -> dict:
    return {
        "gpu": torch.cuda.get_device_name(0), "driver": driver_version(0), "torch": torch.__version__,
        "triton": triton.__version__, "python": platform.python_version(), "numpy": np.__version__,
    }  # fmt: skip


def _peer(forest: Forest) -> tuple[Peer | None, str]:
    try:
        peer = Peer(forest)
    except ImportError as error:
        return None, f"skipped: {error}"
    return peer, f"nvForest {peer.version}"


def _size(tables: DeviceTables, x: torch.Tensor, limits: Limits, peer: Peer | None, seconds: float) -> dict:
    rows, trees, depth = len(x), 200, 6
    line = {"rows": rows}
    bins = bin_features(tables.cuts, x)
    margin = torch.empty(rows, device=x.device)
    line["u8_us"] = replayed_us(lambda: gpu_cuda.forest_margin(tables, bins, margin), seconds)
    line["full_us"] = _full_us(tables, x, seconds)
    line["nvforest"] = None if peer is None else peer.best(x, seconds / 6)
    if rows in _TRITON_SIZES:
        line["triton_u8_us"] = replayed_us(lambda: forest_triton.forest_margin(tables.trees, bins), seconds)
        out = allocate(tables, rows, TOP)
        line["triton_full_us"] = replayed_us(lambda: gpu_triton.score_rows(tables, x, None, TOP, "auto", out), seconds)
    # Bytes: bins or numbers in; margin, and words and contributions, out. Loads: node and bin, and a change and a sum.
    for name, bytes_a_row, loads in (("u8", 32 + 4, 2 * trees * depth), ("full", 128 + 4 + 24 + 8 * TOP, 4 * trees * depth)):
        floor = limits.floor(rows, bytes_a_row, loads)
        line[f"{name}_floor"] = {**floor, "share": floor["floor_us"] / line[f"{name}_us"]}
    return line


def _full_us(tables: DeviceTables, x: torch.Tensor, seconds: float) -> float:
    out = allocate(tables, len(x), TOP, scratch=False)
    return replayed_us(lambda: gpu_cuda.score_rows(tables, x, None, TOP, "auto", out), seconds)


def replayed_us(step: Callable[[], object], seconds: float) -> float:
    """Return the median time of a captured step: replayed, and waited for each time, as a caller would."""
    step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return _median_us(lambda _: (graph.replay(), torch.cuda.synchronize()), seconds)


def _median_us(call: Callable[[int], object], seconds: float) -> float:
    return _percentiles(call, seconds)["p50_us"]


def _percentiles(call: Callable[[int], object], seconds: float) -> dict:
    for i in range(20):
        call(i)
    times, end = [], time.perf_counter() + seconds
    while len(times) < 7 or time.perf_counter() < end:
        start = time.perf_counter()
        call(len(times))
        times.append(time.perf_counter() - start)
    times.sort()
    return {"p50_us": times[len(times) // 2] * 1e6, "p99_us": times[len(times) * 99 // 100] * 1e6, "calls": len(times)}


def _one_row(tables: DeviceTables, peer: Peer | None, rows: np.ndarray, x: torch.Tensor) -> dict:
    """Host to host for us: NumPy row in, ScoredRows out. nvForest: device to device, which is less work."""
    one = gpu_cuda.OneRow(tables, TOP)
    ways = {"python_function": lambda i: one(rows[i % len(rows)]), "graph_with_copies_inside": _with_copies(tables, rows)}
    result = {name: _percentiles(way, 1.0) for name, way in ways.items()}
    return {**result, "nvforest_device_to_device": None if peer is None else peer.best(x[:1], 0.1)}


def _with_copies(tables: DeviceTables, rows: np.ndarray) -> Callable[[int], object]:
    device_row, out = torch.zeros((1, rows.shape[1]), device="cuda:0"), allocate(tables, 1, TOP, scratch=False)
    host_row, host_result = torch.zeros(device_row.shape).pin_memory(), torch.zeros_like(out.buffer, device="cpu").pin_memory()
    host = host_row.numpy()
    graph = torch.cuda.CUDAGraph()
    gpu_cuda.score_rows(tables, device_row, None, TOP, "tree_parallel", out)
    with torch.cuda.graph(graph):
        device_row.copy_(host_row, non_blocking=True)
        gpu_cuda.score_rows(tables, device_row, None, TOP, "tree_parallel", out)
        host_result.copy_(out.buffer, non_blocking=True)

    def score(i: int) -> np.ndarray:
        host[0] = rows[i % len(rows)]
        graph.replay()
        torch.cuda.synchronize()
        return host_result.numpy().copy()

    return score


def _difference(tables: DeviceTables, peer: Peer, x: torch.Tensor) -> float:
    margin = gpu_cuda.score_rows(tables, x, None, 0).margin
    return float((torch.sigmoid(margin.double()) - peer.probabilities(x).double()).abs().max())
