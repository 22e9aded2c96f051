"""The whole program on a GPU beside PyTorch's part of the plain stack alone: the saving is at least this.

Sizes are those of a usual program, and weights are random on both sides. Rows lie on the device. The plain stack's forest
would have to be added to its time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from inference_core.modalities import BinEncoding, NetShape, TabularNet
from kernels.gpu import allocate, upload
from kernels.score_rows import gpu_cuda, gpu_triton
from tests.benchmarks.device_time.plain_net import PlainNet
from tests.benchmarks.gpu.forest_sizes import replayed_us
from tests.benchmarks.net_kernels.case import FEATURES, MEMBERS, WIDTHS, rows, whole_program
from tests.benchmarks.sparse.timing import microseconds

SIZES = (1, 64, 1024, 65_536)
EDGES, TOP = 48, 4


def plain_net() -> PlainNet:
    """Return a net of the sizes of the whole program's, for rows of its features."""
    random = np.random.default_rng(7)
    names = tuple(f"f{i}" for i in range(FEATURES))
    edges = tuple(np.sort(random.standard_normal(EDGES).astype(np.float32)) for _ in names)
    return PlainNet(TabularNet(BinEncoding(names, edges), NetShape(WIDTHS[0], WIDTHS[1:], MEMBERS), seed=3)).eval()


def gpu_report(sizes: tuple[int, ...] = SIZES, seconds: float = 0.2) -> dict[str, Any]:
    """Return for each size the microseconds of our whole program, of the plain net alone, and the share that is saved."""
    tables, plain, lines = upload(whole_program(), "cuda:0"), plain_net().to("cuda:0"), []
    kernel = gpu_triton if gpu_cuda.refusal(tables, TOP) else gpu_cuda
    for size in sizes:
        x = torch.from_numpy(rows(size)).to("cuda:0")
        out = allocate(tables, size, TOP, scratch=False)
        ours = replayed_us(lambda x=x, out=out: kernel.score_rows(tables, x, None, TOP, "auto", out), seconds)
        with torch.inference_mode():
            eager = microseconds([lambda x=x: plain(x)], seconds)
        lines.append({"rows": size, "ours_us": ours, "plain_net_us": eager, "saved_at_least": 1 - ours / eager})
    return {"batches": lines}
