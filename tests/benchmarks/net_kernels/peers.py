"""The same net in float32 and in other people's bytes: PyTorch and ONNX Runtime, one thread, from the rows of the first layer on.

Rounding to bytes and its limits are left out of the floats: a float32 net has none. Members share the large weights, as ours do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from inference_core.export.graph import GraphWriter
from kernels.net_margin import NetTable

Call = Callable[[], object]


class FloatNet(nn.Module):
    """[B, C] rows of the first layer -> totals [B]."""

    def __init__(self, net: NetTable) -> None:
        super().__init__()
        first, *self.hidden = net.layers

        def kept(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.array(array, np.float32))

        self.first, self.head, self.members = kept(net.first), kept(net.head), net.members
        self.scales = [kept(layer.scale) for layer in net.layers]
        self.shifts = [kept(layer.bias * layer.scale) for layer in net.layers]
        self.linear = nn.ModuleList()
        for layer in self.hidden:
            linear = nn.Linear(*layer.weight.shape, bias=False)
            linear.weight = nn.Parameter(kept(layer.weight.T), requires_grad=False)
            self.linear.append(linear)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return totals [B] of rows [B, C] int64."""
        sums = functional.embedding_bag(rows, self.first, mode="sum")[:, None]
        given = torch.addcmul(self.shifts[0], sums, self.scales[0]).relu_()
        for linear, scale, shift in zip(self.linear, self.scales[1:], self.shifts[1:], strict=True):
            given = torch.addcmul(shift, linear(given), scale).relu_()
        return (given * self.head).sum((1, 2))


def torch_peers(net: NetTable, rows: np.ndarray, with_compile: bool = True) -> Iterator[tuple[str, Call]]:
    """Yield (name, call) for rows [B, C] int64."""
    given = torch.from_numpy(rows)
    float_net = FloatNet(net).eval()
    yield "torch float32 eager", _without_gradients(float_net, given)
    if with_compile:
        # as a user would: the shape is known, and autotuning may choose among matrix products
        compiled = torch.compile(FloatNet(net).eval(), dynamic=False, options={"max_autotune": True})
        yield "torch float32 compiled", _without_gradients(compiled, given)
    for engine in ("onednn", "x86"):
        if engine in torch.backends.quantized.supported_engines:
            torch.backends.quantized.engine = engine
            small = torch.ao.quantization.quantize_dynamic(FloatNet(net).eval(), {nn.Linear}, dtype=torch.qint8)
            yield f"torch int8 dynamic, {engine}", _without_gradients(small, given)


def _without_gradients(net: Callable, rows: torch.Tensor) -> Call:
    def call() -> object:
        with torch.inference_mode():
            return net(rows)

    call()
    return call


def onnx_peers(net: NetTable, rows: np.ndarray) -> Iterator[tuple[str, Call]]:
    """Yield (name, call) of ONNX Runtime in float32 and with bytes between the layers."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    for name, write in (("float32", _float_layers), ("int8", _byte_layers)):
        graph = GraphWriter()
        graph.result("totals", write(graph, graph.given("sums", np.float32, "rows", net.widths[0]), net), np.float32, "rows", 1)
        model = graph.model("net", {}).SerializeToString()
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        table, given = torch.from_numpy(np.array(net.first, np.float32)), torch.from_numpy(rows)

        def call(session=session, table=table, given=given) -> object:
            # ONNX has no sum of looked-up rows: a gather of all of them would be slower than this
            with torch.inference_mode():
                sums = functional.embedding_bag(given, table, mode="sum").numpy()
            return session.run(None, {"sums": sums})

        yield f"ONNX Runtime {name}", call


def _float_layers(graph: GraphWriter, sums: str, net: NetTable) -> str:
    given = graph.add("Unsqueeze", sums, graph.constant([1], np.int64))
    for layer in net.layers:
        if layer.weight is not None:
            given = graph.add("MatMul", given, graph.constant(layer.weight, np.float32))
        scaled = graph.add("Mul", given, graph.constant(layer.scale, np.float32))
        given = graph.add("Relu", graph.add("Add", scaled, graph.constant(layer.bias * layer.scale, np.float32)))
    flat = graph.add("Reshape", given, graph.constant([-1, net.head.size], np.int64))
    return graph.add("MatMul", flat, graph.constant(net.head.reshape(-1, 1), np.float32))


def _byte_layers(graph: GraphWriter, sums: str, net: NetTable) -> str:
    given = graph.add("Unsqueeze", sums, graph.constant([1], np.int64))
    for layer in net.layers:
        if layer.weight is not None:
            given = graph.cast(graph.add("MatMulInteger", given, graph.constant(layer.weight, np.int8)), np.float32)
        exact = graph.add("Add", given, graph.constant(layer.bias, np.float32))
        scaled = graph.add("Mul", exact, graph.constant(layer.scale, np.float32))
        limits = graph.constant(0, np.float32), graph.constant(127, np.float32)
        given = graph.cast(graph.add("Round", graph.add("Clip", scaled, *limits)), np.uint8)
    flat = graph.add("Reshape", given, graph.constant([-1, net.head.size], np.int64))
    return graph.cast(graph.add("MatMulInteger", flat, graph.constant(net.head.reshape(-1, 1), np.int8)), np.float32)
