"""Writing an ONNX graph step by step: every step returns the name of what it gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, ML_OPSET, IR_VERSION = 17, 3, 8
"""Of 2022: runtimes on edge devices lag behind."""

KINDS = {np.float32: TensorProto.FLOAT, np.float64: TensorProto.DOUBLE, np.int32: TensorProto.INT32, np.int64: TensorProto.INT64,
         np.uint8: TensorProto.UINT8, np.int8: TensorProto.INT8, np.bool_: TensorProto.BOOL}  # fmt: skip


class GraphWriter:
    """Collects nodes and constants; equal constants are stored once."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple, str] = {}
        self._tensors: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def given(self, name: str, kind: type, *shape: int | str) -> str:
        """Declare an input."""
        self._inputs.append(helper.make_tensor_value_info(name, KINDS[kind], shape))
        return name

    def result(self, name: str, of: str, kind: type, *shape: int | str) -> None:
        """Declare an output."""
        self._nodes.append(helper.make_node("Identity", [of], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, KINDS[kind], shape))

    def constant(self, value: Any, kind: type) -> str:
        """Add a constant."""
        array = np.ascontiguousarray(np.array(value, kind))
        key = (array.tobytes(), array.shape, array.dtype.str)
        if key not in self._constants:
            self._constants[key] = name = f"c{len(self._constants)}"
            self._tensors.append(numpy_helper.from_array(array.reshape(np.shape(value)), name))
        return self._constants[key]

    def add(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node of one output."""
        name = f"n{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, list(inputs), [name], domain=domain, **attributes))
        return name

    def cast(self, of: str, kind: type) -> str:
        return self.add("Cast", of, to=KINDS[kind])

    def columns(self, of: str, positions: list[int]) -> str:
        """Return some columns of a matrix."""
        return self.add("Gather", of, self.constant(positions, np.int64), axis=1)

    def model(self, name: str, told: dict[str, str]) -> onnx.ModelProto:
        """Return the checked model; `told` becomes its metadata."""
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, self._tensors)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="inference_core", ir_version=IR_VERSION)
        helper.set_model_props(model, told)
        onnx.checker.check_model(model)
        return model
