"""The layer in Triton, for bfloat16, float16 and int8 on a GPU with a tensor memory unit (NVIDIA Hopper and later).

A program owns a tile of rows and a strip of blocks and walks through the blocks of the strip. Both operands come through tensor
descriptors, so that the only arithmetic on addresses is the number of a block. Rows of one group go through all strips before
the next group, which keeps them in the second-level cache. With few rows there are fewer tiles than processors: then the
blocks of a strip are shared out to several programs, and a second kernel adds up what they found.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

from kernels.block_sparse_linear.blocks import BlockWeight
from kernels.errors import KernelInputError


@dataclass(frozen=True)
class Tiling:
    """How the work is cut up.

    Attributes:
        rows: of a tile. group: tiles of rows that go through all strips together.
        warps, stages: of a program, and pieces of both operands that are on their way at once.
        split: programs that share the blocks of a strip.
    """

    rows: int = 128
    group: int = 16
    warps: int = 4
    stages: int = 3
    split: int = 1


@dataclass(frozen=True, eq=False)
class DeviceBlocks:
    """A BlockWeight on a GPU.

    Attributes:
        values: [(blocks + 1) * height, width] bfloat16, float16 or int8; the last block is not used.
        source, offsets: as in BlockWeight, source with one more.
        shift: like source, rows that a block's inputs are away (convolutions), or None.
        order: [strips] int32, the strips with the most blocks first: what takes longest does not begin last.
        outputs, inputs, height, width, density: of the weight.
    """

    values: torch.Tensor
    source: torch.Tensor
    offsets: torch.Tensor
    shift: torch.Tensor | None
    order: torch.Tensor
    outputs: int
    inputs: int
    height: int
    width: int
    density: float


def upload_blocks(
    weight: BlockWeight, device: str | torch.device, dtype: torch.dtype = torch.bfloat16, shift: np.ndarray | None = None
) -> DeviceBlocks:
    """Return a weight on a device: float32 values as bfloat16 or float16, int8 as they are.

    Raises:
        KernelInputError: a block is not 16 to 256 outputs by 16 (int8: 32) to 128 inputs, in powers of two, or outputs or
            inputs are no multiple of 16 (the memory unit reads whole 16 bytes: fill the weight up with zeros).
    """
    narrowest = 32 if weight.values.dtype == np.int8 else 16
    powers = all(n & (n - 1) == 0 for n in (weight.height, weight.width))
    sizes = 16 <= weight.height <= 256 and narrowest <= weight.width <= 128
    if not powers or not sizes or weight.outputs % 16 or weight.inputs % 16:
        raise KernelInputError(
            f"blocks must be 16 to 256 by {narrowest} to 128 in powers of two and the weight a multiple of 16; "
            f"got {weight.height} x {weight.width} of {weight.outputs} x {weight.inputs}"
        )
    # One more block, which is never used: a descriptor needs something to point at, and the index is read a step ahead.
    values = np.concatenate([weight.values, np.zeros_like(weight.values, shape=(1, weight.height, weight.width))])
    flat = torch.from_numpy(values.reshape(-1, weight.width))
    order = np.argsort(-np.diff(weight.offsets), kind="stable").astype(np.int32)
    source, away = (None if of is None else np.append(of, 0).astype(np.int32) for of in (weight.source, shift))
    index = [None if of is None else torch.from_numpy(of).to(device) for of in (source, weight.offsets, away, order)]
    return DeviceBlocks(
        flat.to(dtype if flat.dtype == torch.float32 else flat.dtype).to(device), *index,
        weight.outputs, weight.inputs, weight.height, weight.width, weight.density,
    )  # fmt: skip


def choose_tiling(rows: int, weight: DeviceBlocks) -> Tiling:
    """Return how a batch is cut up: what was fastest of what was tried on an H200 (tests/benchmarks/sparse)."""
    strips, processors = len(weight.order), _processors(weight.order.device)
    if rows <= 256:
        tiles = strips * triton.cdiv(rows, 64)
        # A processor and its shared memory for each tile, as long as there are so few.
        stages = _stages(64, weight, 160 if tiles <= processors else 100)
        return Tiling(rows=64, stages=stages, split=max(1, min(16, processors // (2 * tiles))))
    if weight.height > 128:
        return Tiling(rows=128, warps=8, stages=_stages(128, weight, 200))
    if weight.height < 128 and rows > 1024:
        return Tiling(rows=256, group=8, warps=8, stages=_stages(256, weight, 160))
    # Two programs a processor: one multiplies while the other begins or ends.
    return Tiling(stages=_stages(128, weight, 100))


@functools.cache
def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 132


def _stages(rows: int, weight: DeviceBlocks, kilobytes: int) -> int:
    """Return how many pieces of both operands fit in so much shared memory: two at least, five at most."""
    piece = (rows + weight.height) * weight.width * weight.values.element_size()
    return max(2, min(5, kilobytes * 1024 // piece))


def block_sparse_linear(
    x: torch.Tensor, weight: DeviceBlocks, bias: torch.Tensor | None = None, *, relu: bool = False,
    scale: torch.Tensor | None = None, out_scale: float | None = None, out: torch.Tensor | None = None,
    tiling: Tiling | None = None,
) -> torch.Tensor:  # fmt: skip
    """Return act(x @ weight.T * scale + bias) [B, outputs]; the contract of the package on tensors of one GPU.

    Args:
        x: contiguous [B, inputs] of the dtype of the weight's values.
        bias: [outputs] float32 or None. scale: [outputs] float32, for int8 and needed there.
        relu, out_scale: as in the package.
        out: where the result goes, contiguous; None for a new tensor. tiling: None for the usual one.

    Returns:
        The dtype of x; for int8 bfloat16, or int8 with out_scale. Sums are float32, of int8 exact.

    Raises:
        KernelInputError: the parts do not fit each other.
    """
    check(x, weight, bias, scale, out_scale)
    dtype = torch.int8 if out_scale is not None else torch.bfloat16 if x.dtype == torch.int8 else x.dtype
    y = torch.empty((len(x), weight.outputs), dtype=dtype, device=x.device) if out is None else out
    if y.dtype != dtype or y.shape != (len(x), weight.outputs) or not y.is_contiguous():
        raise KernelInputError(f"out must be contiguous {dtype} [{len(x)}, {weight.outputs}]; got {y.dtype} {list(y.shape)}")
    if len(x):
        launch(x, weight, y, bias, scale, None, relu, out_scale, (0, 0), tiling or choose_tiling(len(x), weight))
    return y


def check(
    x: torch.Tensor, weight: DeviceBlocks, bias: torch.Tensor | None, scale: torch.Tensor | None, out_scale: float | None
) -> None:
    """Raise KernelInputError unless the arguments of block_sparse_linear fit each other."""
    dtype, device = weight.values.dtype, weight.values.device
    if x.dtype != dtype or x.ndim != 2 or x.shape[1] != weight.inputs or not x.is_contiguous() or x.device != device:
        found = f"{x.dtype} {list(x.shape)} on {x.device}"
        raise KernelInputError(f"x must be contiguous {dtype} [B, {weight.inputs}] on {device}; got {found}")
    for name, part in (("bias", bias), ("scale", scale)):
        if part is not None and (part.dtype != torch.float32 or part.shape != (weight.outputs,) or part.device != device):
            raise KernelInputError(f"{name} must be float32 [{weight.outputs}] on {device}; got {part.dtype} {list(part.shape)}")
    if (scale is None) != (dtype != torch.int8) or (out_scale is not None and (scale is None or not out_scale > 0)):
        raise KernelInputError("int8 needs a scale for each output, others take none; out_scale is above 0 and for int8 alone")


def launch(
    x: torch.Tensor, weight: DeviceBlocks, y: torch.Tensor, bias: torch.Tensor | None, scale: torch.Tensor | None,
    residual: torch.Tensor | None, relu: bool, out_scale: float | None, picture: tuple[int, int], tiling: Tiling,
) -> None:  # fmt: skip
    """Run the kernels; picture: (height, width) of what the rows are pixels of, with a border (block_sparse_conv), or (0, 0)."""
    rows, strips = len(x), len(weight.order)
    tile = [tiling.rows, weight.height]
    read = TensorDescriptor.from_tensor(x, [tiling.rows, weight.width])
    blocks = TensorDescriptor.from_tensor(weight.values, [weight.height, weight.width])
    write = TensorDescriptor.from_tensor(y, tile)
    add = write if residual is None else TensorDescriptor.from_tensor(residual, tile)
    partial = None
    if tiling.split > 1:
        kind = torch.int32 if x.dtype == torch.int8 else torch.float32
        partial = torch.empty((tiling.split, rows, weight.outputs), dtype=kind, device=x.device)
    finish = {
        "HAS_SCALE": scale is not None, "HAS_BIAS": bias is not None, "HAS_RESIDUAL": residual is not None, "RELU": relu,
        "QUANTISED": out_scale is not None, "HEIGHT": picture[0], "WIDTH": picture[1],
    }  # fmt: skip
    per_step = 1.0 if out_scale is None else float(np.float32(1 / out_scale))
    _tiles[(triton.cdiv(rows, tiling.rows) * strips * tiling.split,)](
        read, blocks, write, add, partial, weight.source, weight.shift, weight.offsets, weight.order, bias, scale, per_step,
        rows, weight.outputs, strips, HAS_SHIFT=weight.shift is not None, ROWS=tiling.rows, BLOCK_N=weight.height,
        BLOCK_K=weight.width, GROUP=tiling.group, SPLIT=tiling.split, STAGES=tiling.stages, INT8=x.dtype == torch.int8,
        num_warps=tiling.warps, **finish,
    )  # fmt: skip
    if partial is not None:
        _add_up[(triton.cdiv(rows, 16), triton.cdiv(weight.outputs, 64))](
            partial, y, residual, bias, scale, per_step, rows, weight.outputs, SPLIT=tiling.split, INT8=x.dtype == torch.int8,
            num_warps=4, **finish,
        )  # fmt: skip


@triton.jit(do_not_specialize=["rows"])
def _tiles(
    read, blocks, write, add, partial, source, shift, offsets, order, bias, scale, per_step, rows, outputs, strips,
    HAS_SHIFT: tl.constexpr, ROWS: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr,
    SPLIT: tl.constexpr, STAGES: tl.constexpr, INT8: tl.constexpr, HAS_SCALE: tl.constexpr, HAS_BIAS: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr, RELU: tl.constexpr, QUANTISED: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    tiles = tl.cdiv(rows, ROWS)
    part = tl.program_id(0) % SPLIT
    place = tl.program_id(0) // SPLIT
    group = place // (GROUP * strips)
    inside = place - group * GROUP * strips
    size = tl.minimum(tiles - group * GROUP, GROUP)
    first = (group * GROUP + inside % size) * ROWS
    strip = tl.load(order + inside // size)
    begin = tl.load(offsets + strip)
    count = tl.load(offsets + strip + 1) - begin
    if INT8:
        sums = tl.zeros((ROWS, BLOCK_N), tl.int32)
    else:
        sums = tl.zeros((ROWS, BLOCK_N), tl.float32)
    last = begin + count * (part + 1) // SPLIT - 1
    start = begin + count * part // SPLIT
    # A step ahead of its use: were it read in the step itself, the compiler would count it as a load that loads wait for, and
    # keep half as many pieces on their way.
    column = tl.load(source + tl.minimum(start, tl.maximum(last, 0)))
    away = 0
    if HAS_SHIFT:
        away = tl.load(shift + tl.minimum(start, tl.maximum(last, 0)))
    for block in tl.range(start, last + 1, num_stages=STAGES):
        inputs = read.load([first + away, column * BLOCK_K])
        values = blocks.load([block * BLOCK_N, 0])
        sums = tl.dot(inputs, values.T, sums, out_dtype=sums.dtype)
        following = tl.minimum(block + 1, last)
        column = tl.load(source + following)
        if HAS_SHIFT:
            away = tl.load(shift + following)
    if SPLIT > 1:
        row = first + tl.arange(0, ROWS)[:, None]
        output = strip * BLOCK_N + tl.arange(0, BLOCK_N)[None, :]
        to = partial + part.to(tl.int64) * rows * outputs
        tl.store(to + (row * outputs + output), sums, mask=(row < rows) & (output < outputs))
    else:
        output = strip * BLOCK_N + tl.arange(0, BLOCK_N)
        y = _scaled(sums, bias, scale, output, outputs, HAS_SCALE, HAS_BIAS)
        if HAS_RESIDUAL:
            y += add.load([first, strip * BLOCK_N]).to(tl.float32)
        row = first + tl.arange(0, ROWS)[:, None]
        y = _finished(y, row, per_step, RELU, QUANTISED, HEIGHT, WIDTH)
        write.store([first, strip * BLOCK_N], y.to(write.dtype))


@triton.jit(do_not_specialize=["rows"])
def _add_up(
    partial, y, residual, bias, scale, per_step, rows, outputs, SPLIT: tl.constexpr, INT8: tl.constexpr,
    HAS_SCALE: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_RESIDUAL: tl.constexpr, RELU: tl.constexpr, QUANTISED: tl.constexpr,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    row = (tl.program_id(0) * 16 + tl.arange(0, 16))[:, None]
    column = tl.program_id(1) * 64 + tl.arange(0, 64)
    mask = (row < rows) & (column[None, :] < outputs)
    at = row.to(tl.int64) * outputs + column[None, :]
    if INT8:
        sums = tl.zeros((16, 64), tl.int32)
    else:
        sums = tl.zeros((16, 64), tl.float32)
    for part in tl.static_range(SPLIT):
        sums += tl.load(partial + part * rows.to(tl.int64) * outputs + at, mask=mask, other=0)
    found = _scaled(sums, bias, scale, column, outputs, HAS_SCALE, HAS_BIAS)
    if HAS_RESIDUAL:
        found += tl.load(residual + at, mask=mask, other=0.0).to(tl.float32)
    found = _finished(found, row, per_step, RELU, QUANTISED, HEIGHT, WIDTH)
    tl.store(y + at, found.to(y.dtype.element_ty), mask=mask)


@triton.jit
def _scaled(sums, bias, scale, column, outputs, HAS_SCALE: tl.constexpr, HAS_BIAS: tl.constexpr):
    y = sums.to(tl.float32)
    if HAS_SCALE:
        y *= tl.load(scale + column, mask=column < outputs, other=0.0)[None, :]
    if HAS_BIAS:
        y += tl.load(bias + column, mask=column < outputs, other=0.0)[None, :]
    return y


@triton.jit
def _finished(y, row, per_step, RELU: tl.constexpr, QUANTISED: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):
    """Return what is stored: row [rows, 1] tells which are the border of a picture, which stays zero."""
    if RELU:
        y = tl.where(y < 0, 0.0, y)  # not maximum: NaN stays
    if WIDTH > 0:
        y = tl.where((row % (WIDTH + 1) < WIDTH) & (row // (WIDTH + 1) % (HEIGHT + 1) < HEIGHT), y, 0.0)
    if QUANTISED:
        y = tl.minimum(tl.maximum(tl.floor(y * per_step + 0.5), -127.0), 127.0)
    return y
