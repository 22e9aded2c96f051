"""The net in Triton: the rows of the first layer that each feature reads, their sums, and a product of bytes a layer.

The rows are found for all features at once, so that the sums are gathered with many loads under way; a program adds up a slice
of the first layer's outputs, which the multiprocessor's own cache holds. A layer takes its block of rows member by member; the
last one adds up the head. Everything between is an integer, or one product of floats that is not fused with anything (see EXACT).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kernels.bin_features.gpu_triton import EXACT
from kernels.gpu import check_bins
from kernels.net_margin.device import DeviceNet, DeviceNetLayer

_INDEX_ROWS = 256
_SLICE = 32
_AT_ONCE = 16
_SUM_ROWS = 32
_ROWS = 64
_OUTPUTS = 256
_LEAST = 16  # rows of a product of tiles


def net_totals(net: DeviceNet, bins: torch.Tensor) -> torch.Tensor:
    """Return totals int32 [B] of bins [at least net.table.columns, B] uint8; the same as kernels.net_margin.reference.

    Raises:
        KernelInputError: bins does not fit.
    """
    check_bins(bins, net.table.columns, net.first.device)
    scratch = net_scratch(net, bins.shape[1])
    net_into(net, bins, scratch)
    return scratch["totals"]


def net_scratch(net: DeviceNet, rows: int) -> dict[str, torch.Tensor]:
    """Return what net_into writes on the way and at last: `totals` [B] int32 and `terms` [B] int64."""
    device = net.first.device
    members, widest = net.head.shape[0], max(layer.bias.shape[1] for layer in net.layers)
    layers = len(net.layers) - 2  # the last one's activations are not stored
    return {
        "net_rows": torch.empty((net.table.features, rows), dtype=torch.int32, device=device),
        "net_sums": torch.empty((rows, net.first.shape[1]), dtype=torch.int32, device=device),
        "activations": torch.empty((min(layers, 2), rows * members * widest), dtype=torch.int8, device=device),
        "totals": torch.empty(rows, dtype=torch.int32, device=device),
        "terms": torch.empty(rows, dtype=torch.int64, device=device),
    }


def net_into(net: DeviceNet, bins: torch.Tensor, scratch: dict[str, torch.Tensor]) -> None:
    """Write totals, and the terms that they add to sums of leaves, to what net_scratch gave for bins [.., B]; launches alone."""
    if bins.shape[1]:
        find_rows(net, bins, scratch["net_rows"])
        add_rows(net, scratch["net_rows"], scratch["net_sums"])
        run_layers(net, scratch)


def find_rows(net: DeviceNet, bins: torch.Tensor, found: torch.Tensor) -> None:
    """Write to found [C, B] int32 the row of the first layer that each feature reads."""
    rows, features = bins.shape[1], net.table.features
    _find_rows[(triton.cdiv(rows, _INDEX_ROWS), features)](
        bins, net.reads, net.column, net.rank, net.offset, found, rows, ROWS=_INDEX_ROWS
    )


def add_rows(net: DeviceNet, found: torch.Tensor, sums: torch.Tensor) -> None:
    """Write to sums [B, H] int32 the sums of the rows found."""
    (features, rows), width = found.shape, net.first.shape[1]
    # Blocks of rows vary fastest: programs that run at a time share a slice of the outputs, and with it the cache.
    _add_rows[(triton.cdiv(rows, _SUM_ROWS), width // _SLICE)](
        net.first, found, sums, rows, features, WIDTH=width, ROWS=_SUM_ROWS, SLICE=_SLICE, AT_ONCE=_AT_ONCE
    )


def run_layers(net: DeviceNet, scratch: dict[str, torch.Tensor]) -> None:
    """Write totals and terms from the sums of the first layer."""
    given = scratch["net_sums"]
    rows = len(given)
    for number, layer in enumerate(net.layers[1:]):
        last = number == len(net.layers) - 2
        out = scratch["totals"] if last else scratch["activations"][number % 2]
        _run_layer(net, number, layer, given, out, scratch["terms"], rows, last)
        given = out


def _run_layer(
    net: DeviceNet, number: int, layer: DeviceNetLayer, given: torch.Tensor, out: torch.Tensor, terms: torch.Tensor, rows: int,
    last: bool,
) -> None:  # fmt: skip
    first, table = net.layers[0], net.table
    outputs, inputs = layer.weight.shape
    block = min(_OUTPUTS, outputs, 65_536 // inputs)
    size = _ROWS if rows >= 64 * _ROWS and inputs <= 256 else _LEAST
    _layer[(triton.cdiv(rows, size),)](
        given, first.bias, first.scale, layer.weight, layer.bias, layer.scale, net.head, out, terms, rows, table.multiplier,
        1 << (table.shift - 1), table.shift, FIRST=number == 0, LAST=last, FIRST_THRESHOLD=first.threshold,
        THRESHOLD=layer.threshold, MEMBERS=table.members, ROWS=size, INPUTS=inputs, OUTPUTS=outputs, BLOCK=block,
        num_warps=8 if size > _LEAST else 4, **EXACT,
    )  # fmt: skip


@triton.jit
def _find_rows(bins, reads, column, rank, offset, found, B, ROWS: tl.constexpr):
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    f = tl.program_id(1)
    mask = rows < B
    at = tl.zeros([ROWS], tl.int32) + tl.load(offset + f)
    for r in range(tl.load(reads + f), tl.load(reads + f + 1)):
        bin_ = tl.load(bins + tl.load(column + r).to(tl.int64) * B + rows, mask=mask, other=0).to(tl.int32)
        at += tl.load(rank + r * 256 + bin_).to(tl.int32)
    tl.store(found + f.to(tl.int64) * B + rows, tl.minimum(at, tl.load(offset + f + 1) - 1), mask=mask)


@triton.jit
def _add_rows(first, found, sums, B, F, WIDTH: tl.constexpr, ROWS: tl.constexpr, SLICE: tl.constexpr, AT_ONCE: tl.constexpr):
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    h = tl.program_id(1) * SLICE + tl.arange(0, SLICE)
    mask = rows < B
    total = tl.zeros([ROWS, SLICE], tl.int32)
    for start in range(0, F, AT_ONCE):
        for i in tl.static_range(AT_ONCE):
            f = start + i
            here = mask & (f < F)
            at = tl.load(found + tl.cast(f, tl.int64) * B + rows, mask=here, other=0)
            row = tl.load(first + at[:, None] * WIDTH + h[None, :], mask=here[:, None], other=0)
            total += row.to(tl.int32)
    tl.store(sums + rows[:, None] * WIDTH + h[None, :], total, mask=mask[:, None])


@triton.jit
def _activate(total, scale, threshold: tl.constexpr):
    """Return clamp(rint(float32(total) * scale), 0, 127), or 0 below the threshold.

    Between the limits, adding 1.5 * 2**23 rounds half to even.
    """
    value = total.to(tl.float32) * scale
    value = tl.minimum(tl.maximum(value, 0.0), 127.0)
    given = ((value + 12582912.0) - 12582912.0).to(tl.int32)
    return tl.where(given < threshold, 0, given)


@triton.jit
def _layer(given, first_bias, first_scale, weight, bias, scale, head, out, terms, B, multiplier, half, shift, FIRST: tl.constexpr,
           LAST: tl.constexpr, FIRST_THRESHOLD: tl.constexpr, THRESHOLD: tl.constexpr, MEMBERS: tl.constexpr, ROWS: tl.constexpr,
           INPUTS: tl.constexpr, OUTPUTS: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """A block of rows, member by member, so that biases and scales are those of a column and not of each number.

    The first layer's sums stay in registers; its activations are made of them for each block of outputs, whose weights all
    members share.
    """
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    here = rows < B
    i = tl.arange(0, INPUTS)
    if FIRST:
        sums = tl.load(given + rows[:, None] * INPUTS + i[None, :], mask=here[:, None], other=0)
    of_head = tl.zeros([ROWS], tl.int32)
    for start in range(0, OUTPUTS, BLOCK):
        o = start + tl.arange(0, BLOCK)
        w = tl.load(weight + o[None, :] * INPUTS + i[:, None])
        for k in range(MEMBERS):
            if FIRST:
                of_first = sums + tl.load(first_bias + k * INPUTS + i)[None, :]
                a = _activate(of_first, tl.load(first_scale + k * INPUTS + i)[None, :], FIRST_THRESHOLD).to(tl.int8)
            else:
                a = tl.load(given + (rows[:, None] * MEMBERS + k) * INPUTS + i[None, :], mask=here[:, None], other=0)
            total = tl.dot(a, w, out_dtype=tl.int32) + tl.load(bias + k * OUTPUTS + o)[None, :]
            next_ = _activate(total, tl.load(scale + k * OUTPUTS + o)[None, :], THRESHOLD)
            if LAST:
                of_head += tl.sum(next_ * tl.load(head + k * OUTPUTS + o).to(tl.int32)[None, :], axis=1)
            else:
                tl.store(out + (rows[:, None] * MEMBERS + k) * OUTPUTS + o[None, :], next_.to(tl.int8), mask=here[:, None])
    if LAST:
        tl.store(out + rows, of_head, mask=here)
        tl.store(terms + rows, (of_head.to(tl.int64) * multiplier + half) >> shift, mask=here)
