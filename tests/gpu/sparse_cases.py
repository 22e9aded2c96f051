"""The contract of the sparse layers' Triton kernels, whose inputs are not those of a program: weights in blocks.

`small` is for Triton's interpreter, which does not know bfloat16: float16 there, both on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from kernels.block_sparse_conv import gpu_triton as conv_gpu
from kernels.block_sparse_conv import pack_conv
from kernels.block_sparse_conv import reference as conv_reference
from kernels.block_sparse_linear import gpu_triton as linear_gpu
from kernels.block_sparse_linear import pack_blocks
from kernels.block_sparse_linear import reference as linear_reference
from kernels.block_sparse_linear.gpu_triton import Tiling
from tests.kernels.sparse_samples import as_int8, block_zeros, int8_rows, vectors

Checks = Iterator[tuple[str, Callable[[], None]]]
_NARROW = Tiling(rows=16, group=2, stages=2)
# outputs, inputs, height, width, share of zeros
_SHAPES = ((512, 1024, 128, 64, 0.75), (320, 272, 64, 64, 0.5), (256, 256, 256, 32, 0.5), (640, 512, 128, 128, 0.9),
           (128, 64, 64, 64, 1.0), (48, 80, 16, 16, 0.3), (1024, 512, 128, 64, 0.0))  # fmt: skip
_SMALL_SHAPES = ((48, 80, 32, 32, 0.5), (64, 64, 16, 64, 0.7), (32, 64, 32, 32, 1.0), (32, 48, 16, 16, 0.5))
_TILINGS = (None, Tiling(rows=256, group=8, warps=8, stages=2), Tiling(rows=64, stages=3, split=5), Tiling(rows=16, split=2))


def linear_cases(device: str, small: bool) -> Checks:
    """Yield every case of block_sparse_linear with the function that raises AssertionError where it fails."""
    for shape in _SMALL_SHAPES if small else _SHAPES:
        for rows in (0, 1, 21) if small else (0, 1, 2, 33, 257, 2_000):
            for tiling in (_NARROW, Tiling(rows=16, stages=2, split=3)) if small else _TILINGS:
                yield from _linear_checks(f"{shape}, {rows} rows, {tiling}", shape, rows, tiling, device, small)


def _linear_checks(name: str, shape: tuple, rows: int, tiling: Tiling | None, device: str, small: bool) -> Checks:
    for dtype in (torch.float16,) if small else (torch.bfloat16, torch.float16):
        yield f"{dtype}, {name}", lambda dtype=dtype: _check_floats(shape, rows, tiling, device, dtype)
    if shape[3] >= 32:
        yield f"int8, {name}", lambda: _check_int8(shape, rows, tiling, device)


def _check_floats(shape: tuple, rows: int, tiling: Tiling | None, device: str, dtype: torch.dtype) -> None:
    outputs, inputs, height, width, _ = shape
    weight = pack_blocks(_rounded(block_zeros(*shape), dtype), height, width)
    x, bias = _rounded(np.random.default_rng(rows).normal(size=(rows, inputs)), dtype), vectors(outputs)[1]
    x[-1:, 3] = np.nan  # the last row knows which blocks are there
    for relu, by in ((False, None), (True, bias)):
        parts = _tensor(x, device, dtype), linear_gpu.upload_blocks(weight, device, dtype), _tensor(by, device)
        y = linear_gpu.block_sparse_linear(*parts, relu=relu, tiling=tiling)
        expected = linear_reference.block_sparse_linear(x, weight, by, relu=relu)
        assert y.dtype == dtype
        _close(y, expected, dtype, inputs)


def _check_int8(shape: tuple, rows: int, tiling: Tiling | None, device: str) -> None:
    outputs, inputs, height, width, _ = shape
    weight = pack_blocks(as_int8(block_zeros(*shape)), height, width)
    x, (scale, bias) = int8_rows(rows, inputs), vectors(outputs)
    blocks = linear_gpu.upload_blocks(weight, device)
    parts = _tensor(x, device), blocks, _tensor(bias, device)
    y = linear_gpu.block_sparse_linear(*parts, scale=_tensor(scale, device), tiling=tiling)
    if device != "cpu":
        _close(y, linear_reference.block_sparse_linear(x, weight, bias, scale=scale), torch.bfloat16, 1)
    y = linear_gpu.block_sparse_linear(*parts, scale=_tensor(scale, device), relu=True, out_scale=0.1, tiling=tiling)
    expected = linear_reference.block_sparse_linear(x, weight, bias, scale=scale, relu=True, out_scale=0.1)
    assert y.dtype == torch.int8 and y.shape == expected.shape
    # A fused multiply-add may round a value at the very edge of two steps to the other side.
    off = np.abs(y.cpu().numpy().astype(int) - expected)
    differing = np.count_nonzero(off)
    assert off.max(initial=0) <= 1 and differing <= 1 + 1e-4 * off.size, f"{differing} of {off.size} differ"


def conv_cases(device: str, small: bool) -> Checks:
    """Yield every case of block_sparse_conv likewise."""
    sizes = ((3, 3), (1, 1)) if small else ((3, 3), (1, 1), (1, 3), (3, 1))
    for size in sizes:
        for count, picture in ((0, (2, 2)), (3, (4, 5))) if small else ((0, (4, 4)), (1, (1, 1)), (9, (7, 5)), (40, (14, 14))):
            name = f"{size} on {count} pictures of {picture}"
            tilings = (_NARROW,) if small else (None, Tiling(rows=256, warps=8, stages=2), Tiling(rows=64, stages=3, split=4))
            for tiling in tilings:
                yield f"{name}, {tiling}", lambda *of, args=(size, count, picture, tiling, device, small): _check_conv(*args)


def _check_conv(size: tuple, count: int, picture: tuple, tiling: Tiling | None, device: str, small: bool) -> None:
    outputs, channels, height, width = (32, 32, 16, 16) if small else (256, 128, 128, 64)
    dtype = torch.float16 if small else torch.bfloat16
    matrix = block_zeros(outputs, size[0] * size[1] * channels, height, width, 0.4)
    kernel = np.ascontiguousarray(_rounded(matrix, dtype).reshape(outputs, *size, channels).transpose(0, 3, 1, 2))
    weight, bias = pack_conv(kernel, height, width), vectors(outputs)[1]
    rng = np.random.default_rng(count)
    x, residual = (_rounded(rng.normal(size=(count, *picture, of)), dtype) for of in (channels, outputs))
    rows = conv_gpu.with_border(_tensor(x, device, dtype))
    y = conv_gpu.block_sparse_conv(
        rows, conv_gpu.upload_conv(weight, picture, device, dtype), _tensor(bias, device),
        residual=conv_gpu.with_border(_tensor(residual, device, dtype)), relu=True, tiling=tiling,
    )  # fmt: skip
    inside = conv_gpu.without_border(y, picture)
    _close(inside, conv_reference.block_sparse_conv(x, weight, bias, residual=residual, relu=True), dtype, weight.blocks.inputs)
    border = conv_gpu.with_border(torch.ones_like(inside)) == 0
    assert not y[border].any(), "the border is not zero"


def _rounded(values: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(dtype).float().numpy()


def _tensor(array: np.ndarray | None, device: str, dtype: torch.dtype | None = None) -> torch.Tensor | None:
    return None if array is None else torch.from_numpy(np.array(array)).to(device, dtype)


def _close(given: torch.Tensor, expected: np.ndarray, dtype: torch.dtype, inputs: int) -> None:
    """Raise unless equal to what the result's dtype can tell, NaN at the same places."""
    step = torch.finfo(dtype).eps
    np.testing.assert_allclose(given.float().cpu().numpy(), expected, rtol=step, atol=1e-5 * inputs**0.5 + step / 16)


OWN_CASES: dict[str, Callable[[str, bool], Checks]] = {"block_sparse_conv": conv_cases, "block_sparse_linear": linear_cases}
"""Operations that bring cases of their own; the others are checked on tests/gpu/cases.py."""
