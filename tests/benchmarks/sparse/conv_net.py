"""The residual nets, timed: pruned against every way of running them dense, the best of which counts."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tests.benchmarks.sparse.residual_net import GPU, KINDS, DenseNet, Kind, Net, SparseNet, random_net
from tests.benchmarks.sparse.timing import captured, microseconds, watts

BATCH = 256
ZEROS = (0.75, 0.875)


@torch.inference_mode()
def benchmark(compile_modes: tuple[str, ...] = ("default", "max-autotune-no-cudagraphs")) -> list[dict]:
    """Return for each net the dense ways, and for each share of zeros time, speed-up and difference from the dense twin."""
    torch.backends.cudnn.benchmark = True
    return [_one(kind, compile_modes) for kind in KINDS]


def _one(kind: Kind, compile_modes: tuple[str, ...]) -> dict:
    net = random_net(kind)
    x = torch.randn(BATCH, 3, 224, 224, device=GPU).to(torch.bfloat16, memory_format=torch.channels_last)
    ways = {"cuDNN": DenseNet(net), "cuDNN, fused calls": DenseNet(net, fused=True)}
    # A compiled net's sums and activations are fused; its graph is captured like all others.
    ways |= {f"torch.compile, {mode}": torch.compile(DenseNet(net), mode=mode) for mode in compile_modes}
    dense = [{"way": name, **_timed(way, x)} for name, way in ways.items()]
    best = min(line["us"] for line in dense if line["us"])
    pruned = [_pruned(net, zeros, x, best) for zeros in ZEROS]
    return {"net": kind.name, "pictures": BATCH, "flops": net.flops(BATCH), "dense": dense, "dense_us": best, "pruned": pruned}


def _timed(way: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> dict:
    try:
        return {"us": microseconds(captured([lambda: way(x)]), 0.3)}
    except Exception as error:  # of any kind: a way that does not run is told, with its reason
        return {"us": None, "failed": f"{type(error).__name__}: {error}"[:300]}


def _pruned(net: Net, zeros: float, x: torch.Tensor, dense_us: float) -> dict:
    less = net.pruned(zeros)
    sparse, twin = SparseNet(less), DenseNet(less)
    expected = twin(x).float()
    difference = float((sparse(x).float() - expected).norm() / expected.norm())
    steps = captured([lambda: sparse(x)])
    us = microseconds(steps, 0.3)
    return {
        "zeros_in_blocks": zeros, "zeros_of_all_weights": less.zeros(), "us": us, "speedup": dense_us / us,
        "relative_difference_to_dense_twin": difference, "power": watts(steps, 1.5),
    }  # fmt: skip
