"""The net as its C kernels read it (kernels/cpu.h)."""

from __future__ import annotations

import ctypes

import numpy as np

from kernels.native_tables import Native
from kernels.net_margin.table import MAX_LAYERS, NetTable, NetTableLayer

_POINTER, _LONG = ctypes.c_void_p, ctypes.c_int64
PANEL = 16
_LINE = 64


class Layer(ctypes.Structure):
    """`net_layer` of cpu.h."""

    _fields_ = [
        ("inputs", _LONG), ("outputs", _LONG), ("threshold", _LONG), ("stride", _LONG), ("quads", _POINTER), ("units", _POINTER),
        ("bias", _POINTER), ("scale", _POINTER),
    ]  # fmt: skip


class Net(ctypes.Structure):
    """`net_table` of cpu.h."""

    _fields_ = [
        ("features", _LONG), ("members", _LONG), ("layers", _LONG), ("multiplier", _LONG), ("shift", _LONG), ("centre", _LONG),
        ("reads", _POINTER), ("column", _POINTER), ("rank", _POINTER), ("offset", _POINTER), ("first", _POINTER),
        ("layer", Layer * (MAX_LAYERS + 1)), ("head", _POINTER),
    ]  # fmt: skip


def native_net(table: NetTable) -> Native:
    """Return the net_table of a NetTable."""
    of = Net(table.features, table.members, len(table.layers), table.multiplier, table.shift, table.centre_term)
    native = Native(of)
    of.reads, of.column, of.rank = native.keep(table.reads), native.keep(table.column), native.keep(table.rank)
    of.offset, of.first, of.head = native.keep(table.offset), native.keep(pairs_of(table.first)), native.keep(table.head)
    for i, layer in enumerate(table.layers):
        of.layer[i] = _layer(native, layer)
    return native


def _layer(native: Native, layer: NetTableLayer) -> Layer:
    outputs = layer.bias.shape[1]
    of = Layer(0, outputs, layer.threshold, 0)
    of.bias, of.scale = native.keep(layer.bias), native.keep(layer.scale)
    if layer.weight is not None:
        quads = quads_of(layer.weight)
        of.inputs, of.stride = len(layer.weight), quads.shape[1]
        of.quads, of.units = native.keep(quads), native.keep(units_of(layer.weight))
    return of


def pairs_of(first: np.ndarray) -> np.ndarray:
    """Return [rows, H] int16, of each 32 outputs the first sixteen in the even places and the others in the odd ones."""
    rows, outputs = first.shape
    return first.reshape(rows, outputs // 32, 2, PANEL).transpose(0, 1, 3, 2).reshape(rows, outputs)


def quads_of(weight: np.ndarray) -> np.ndarray:
    """Return [I / 4, O * 4 + 64] int8: of four inputs all outputs, each output's four weights side by side.

    The line of padding after each quad keeps quads of the same outputs out of each other's cache sets.
    """
    inputs, outputs = weight.shape
    quads = weight.reshape(inputs // 4, 4, outputs).transpose(0, 2, 1).reshape(inputs // 4, 4 * outputs)
    return np.pad(quads, ((0, 0), (0, _LINE)))


def units_of(weight: np.ndarray) -> np.ndarray:
    """Return [I, O] int8, the outputs of each 64 in the order that joining the rows of four inputs undoes.

    Byte 16 lane + 4 j + d of a register ends up in lane `lane`, place d of register j, which is output 16 j + 4 lane + d.
    """
    inputs, outputs = weight.shape
    return weight.reshape(inputs, outputs // 64, 4, 4, 4).transpose(0, 1, 3, 2, 4).reshape(inputs, outputs)
