"""B8: the block-sparse layer of 8,192 x 8,192 on the GPU beside cuBLAS, 2:4 (cuSPARSELt) and torch's block and CSR products.

Effective TFLOP/s are those of the dense product, 2 x rows x outputs x inputs, over the time: what a dense layer would have to do
to be as fast. Weights are random with blocks of 128 x 64 left out anywhere; several weights and rows take turns.
"""

from __future__ import annotations

import torch

from kernels.block_sparse_linear.gpu_triton import DeviceBlocks, block_sparse_linear, upload_blocks
from tests.benchmarks.sparse.timing import Step, captured, microseconds, watts
from tests.benchmarks.sparse.weights import random_blocks

SIZE = 8_192
ROWS = (8, 64, 256, 512, 1_024, 2_048, 8_192)
ZEROS = (0.5, 0.75, 0.9, 0.95)
_GPU = "cuda:0"


def benchmark() -> dict:
    """Return a line for each number of rows and share of zeros, the dense lines, and power."""
    dense = [torch.randn(SIZE, SIZE, device=_GPU, dtype=torch.bfloat16) * SIZE**-0.5 for _ in range(3)]
    dense8 = [(weight * 2_000).clamp(-127, 127).to(torch.int8) for weight in dense]
    lines = [_dense_line(rows, dense, dense8) for rows in ROWS]
    for zeros in ZEROS:
        blocks = [upload_blocks(random_blocks(SIZE, SIZE, zeros, seed=seed), _GPU) for seed in range(3)]
        bytes_ = [upload_blocks(random_blocks(SIZE, SIZE, zeros, (128, 128), int8=True, seed=seed), _GPU) for seed in range(3)]
        small = [upload_blocks(random_blocks(SIZE, SIZE, zeros, (64, 64), seed=seed), _GPU) for seed in range(3)]
        lines += [_sparse_line(rows, zeros, blocks, small, bytes_) for rows in ROWS]
    return {"size": SIZE, "lines": lines, "peers": _peers(dense[0]), "power": _power(dense, dense8)}


def _rows(rows: int, kind: torch.dtype = torch.bfloat16) -> list[torch.Tensor]:
    count = 3 if rows * SIZE > 2**24 else 6
    drawn = [torch.randn(rows, SIZE, device=_GPU) for _ in range(count)]
    return [(x * 40).clamp(-127, 127).to(kind) if kind == torch.int8 else x.to(kind) for x in drawn]


def _dense_steps(x: list[torch.Tensor], weights: list[torch.Tensor]) -> list[Step]:
    product = torch._int_mm if x[0].dtype == torch.int8 else torch.mm
    return [lambda i=i: product(x[i % len(x)], weights[i % len(weights)].T) for i in range(len(x))]


def _sparse_steps(x: list[torch.Tensor], weights: list[DeviceBlocks]) -> list[Step]:
    out = torch.empty((len(x[0]), SIZE), dtype=torch.bfloat16, device=_GPU)
    scale = torch.full((SIZE,), 1e-4, device=_GPU) if x[0].dtype == torch.int8 else None
    return [
        lambda i=i: block_sparse_linear(x[i % len(x)], weights[i % len(weights)], scale=scale, out=out) for i in range(len(x))
    ]


def _dense_line(rows: int, dense: list[torch.Tensor], dense8: list[torch.Tensor]) -> dict:
    times = {"cublas_us": microseconds(captured(_dense_steps(_rows(rows), dense)))}
    # cuBLAS takes int8 from more than sixteen rows on.
    times["cublas_int8_us"] = microseconds(captured(_dense_steps(_rows(rows, torch.int8), dense8))) if rows > 16 else None
    return {"rows": rows, "zeros": 0.0, **times}


def _sparse_line(
    rows: int, zeros: float, blocks: list[DeviceBlocks], small: list[DeviceBlocks], bytes_: list[DeviceBlocks]
) -> dict:
    x, x8 = _rows(rows), _rows(rows, torch.int8)
    return {
        "rows": rows, "zeros": zeros,
        "us": microseconds(captured(_sparse_steps(x, blocks))),
        "blocks_of_64_us": microseconds(captured(_sparse_steps(x, small))),
        "int8_us": microseconds(captured(_sparse_steps(x8, bytes_))),
    }  # fmt: skip


def _peers(dense: torch.Tensor) -> list[dict]:
    """Return what torch has for sparse weights, each at the rows and shares of zeros where it can run."""
    lines = []
    for rows in (8, 512, 2_048, 8_192):
        x = _rows(rows)
        lines.append(_peer("2:4, cuSPARSELt", rows, 0.5, lambda x=x: _two_of_four_steps(x, dense)))
        for zeros in (0.75, 0.9):
            lines.append(_peer("torch BSR, 64 x 64", rows, zeros, lambda x=x, zeros=zeros: _bsr_steps(x, zeros)))
    for zeros in (0.75, 0.95):
        lines.append(_peer("torch CSR, cuSPARSE", 2_048, zeros, lambda zeros=zeros: _csr_steps(_rows(2_048)[:1], dense, zeros)))
    return lines


def _peer(name: str, rows: int, zeros: float, steps) -> dict:
    line = {"peer": name, "rows": rows, "zeros": zeros}
    try:
        return {**line, "us": microseconds(steps(), 0.1)}
    except Exception as error:  # of any kind: a peer that does not run is told, with its reason
        return {**line, "us": None, "failed": f"{type(error).__name__}: {error}"[:300]}


def _two_of_four_steps(x: list[torch.Tensor], dense: torch.Tensor) -> list[Step]:
    groups = dense.view(-1, 4)
    kept = torch.zeros_like(groups, dtype=torch.bool).scatter_(1, groups.abs().topk(2, dim=1).indices, True)
    sparse = torch.sparse.to_sparse_semi_structured((groups * kept).view_as(dense))
    return [lambda rows=rows: torch.nn.functional.linear(rows, sparse) for rows in x]


def _bsr_steps(x: list[torch.Tensor], zeros: float) -> list[Step]:
    whole = torch.from_numpy(random_blocks(SIZE, SIZE, zeros, (64, 64)).dense()).to(_GPU, torch.bfloat16)
    sparse = whole.to_sparse_bsr((64, 64))
    return [lambda rows=rows: torch.nn.functional.linear(rows, sparse) for rows in x]


def _csr_steps(x: list[torch.Tensor], dense: torch.Tensor, zeros: float) -> list[Step]:
    sparse = (dense * (torch.rand_like(dense, dtype=torch.float32) >= zeros)).to_sparse_csr()
    columns = [rows.T.contiguous() for rows in x]
    return [lambda of=of: sparse @ of for of in columns]


def _power(dense: list[torch.Tensor], dense8: list[torch.Tensor]) -> list[dict]:
    """Return watts and effective TFLOP/s a watt of layers of 8,192 x 8,192 on 8,192 rows."""
    x, x8 = _rows(SIZE), _rows(SIZE, torch.int8)

    def sparse(zeros: float, int8: bool) -> list[Step]:
        block = (128, 128) if int8 else (128, 64)
        weights = [upload_blocks(random_blocks(SIZE, SIZE, zeros, block, int8=int8, seed=seed), _GPU) for seed in range(3)]
        return _sparse_steps(x8 if int8 else x, weights)

    found = []
    for name, steps in (
        ("cuBLAS bfloat16", _dense_steps(x, dense)), ("cuBLAS int8", _dense_steps(x8, dense8)),
        ("blocks, 75 % zeros, bfloat16", sparse(0.75, False)), ("blocks, 75 % zeros, int8", sparse(0.75, True)),
        ("blocks, 90 % zeros, bfloat16", sparse(0.9, False)), ("blocks, 90 % zeros, int8", sparse(0.9, True)),
    ):  # fmt: skip
        measured = watts(captured(steps))
        if measured is not None:
            teraflops = 2 * SIZE**3 / measured["us"] / 1e6
            found.append({"layer": name, **measured, "tflops": teraflops, "tflops_per_watt": teraflops / measured["watts"]})
    return found
