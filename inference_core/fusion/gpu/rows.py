"""Functions whose rows are numbers or lines of numbers."""

from __future__ import annotations

from inference_core.fusion.gpu.program import CHUNK, LEAST_SIDE, Program, power_of_two
from inference_core.fusion.ir import Graph, Kind, Node, NotFusable
from inference_core.fusion.operations import POSITIONS, REDUCTIONS

# Elements of the widest value that a program holds at once.
_TILE = 1024
_MOST_ROWS = 128
_WIDEST = 8192
# Elements of weights that a program keeps at once, for rows that are not read from memory bit by bit.
_MOST_WEIGHTS = 16_384
# Measured on an H200: one wave of programs; at 65,536 rows the library takes a fifth of the time.
_MOST_ROWS_OF_PRODUCTS = 4096
# Up to this many outputs a matrix product is a sum for each.
_FEW = 8


class Rows(Program):
    """A program holds rows [R] or [R, power of two]."""

    def __init__(self, graph: Graph, statistics: frozenset[int]) -> None:
        super().__init__(graph, statistics)
        varying = [node for node in graph.nodes if node.varies]
        if any(len(node.row) > 1 for node in varying):
            raise NotFusable("rows of several dimensions are not fused on a GPU")
        self._layers = [node for node in varying if node.op == "linear"]
        chunked = {node.args[0] for node in self._layers if self._is_chunked(node)}
        held = [node for at, node in enumerate(graph.nodes) if node.varies and not (at in chunked and self.is_read_elsewhere(at))]
        widest = max((power_of_two(node.elements) for node in held), default=1)
        if widest > _WIDEST:
            raise NotFusable(f"rows of {widest} elements do not fit a program's registers")
        self.rows = max(1, min(_MOST_ROWS, _TILE // widest))
        if any(node.row[0] > _FEW for node in self._layers):
            self.rows, self.most_rows = max(LEAST_SIDE, min(32, self.rows)), _MOST_ROWS_OF_PRODUCTS

    def _is_chunked(self, node: Node) -> bool:
        return self.graph.nodes[node.args[0]].op == "argument" and node.row[0] > _FEW

    def is_read_elsewhere(self, at: int) -> bool:
        users = self.graph.users()[at]
        narrowed = all(self.graph.nodes[user].op == "narrow" for user in users)
        chunked = all(self.graph.nodes[user].op == "linear" and self._is_chunked(self.graph.nodes[user]) for user in users)
        return at not in self.outputs and (narrowed or chunked)

    def begin(self) -> None:
        self.lines += [f"rows = tl.program_id(0).to(tl.int64) * {self.rows} + tl.arange(0, {self.rows})", "here = rows < n"]
        for size in sorted({node.row[0] for node in self.graph.nodes if node.varies and node.row}):
            self.lines.append(f"j{size} = tl.arange(0, {power_of_two(size)})[None, :]")
            self.lines.append(f"in{size} = here[:, None] & (j{size} < {size})")

    def _width(self, at: int) -> int:
        return self.graph.nodes[at].row[0]

    def load(self, at: int, start: int = 0, size: int | None = None) -> str:
        node = self.graph.nodes[at]
        truth = " != 0" if node.kind is Kind.TRUTH else ""
        if not node.row:
            return f"tl.load({self.pointer(at)} + rows, mask=here, other=0){truth}"
        width = size or node.row[0]
        shift = f" + {start}" if start else ""
        return f"tl.load({self.pointer(at)} + rows[:, None] * {node.row[0]} + j{width}{shift}, mask=in{width}, other=0){truth}"

    def load_constant(self, at: int) -> str:
        node = self.graph.nodes[at]
        truth = " != 0" if node.kind is Kind.TRUTH else ""
        if node.elements == 1:
            return f"tl.load({self.pointer(at)}){truth}"
        size = node.elements
        if size not in {one.row[0] for one in self.graph.nodes if one.varies and one.row}:
            raise NotFusable("a constant of another width than every value")
        return f"tl.load({self.pointer(at)} + j{size}, mask=j{size} < {size}, other=0){truth}"

    def store(self, i: int, at: int) -> None:
        node = self.graph.nodes[at]
        value = f"v{at}"
        if not node.row:
            self.lines.append(f"tl.store(o{i} + rows, {value}, mask=here)")
            return
        size = node.row[0]
        self.lines.append(f"tl.store(o{i} + rows[:, None] * {size} + j{size}, {value}, mask=in{size})")

    def operation(self, at: int, node: Node) -> str:
        if node.op == "reshape":
            return self._reshape(node)
        if node.op == "narrow" and self.graph.nodes[node.args[0]].op == "argument":
            return self.load(node.args[0], node.value, node.row[0])
        if node.op in REDUCTIONS:
            return self._reduction(at, node)
        if node.op == "linear":
            return self._linear(at, node)
        return super().operation(at, node)

    def _reshape(self, node: Node) -> str:
        below, value = self.graph.nodes[node.args[0]].row, self.name(node.args[0])
        if below == () and node.row == (1,):
            return f"{value}[:, None]"
        if below == (1,) and node.row == ():
            return f"tl.reshape({value}, [{self.rows}])"
        raise NotFusable(f"a reshape of rows {list(below)} to {list(node.row)} on a GPU")

    def _reduction(self, at: int, node: Node) -> str:
        operand = node.args[0]
        size, value = self._width(operand), self.name(operand)
        if node.op in ("sum", "prod"):
            neutral = "0.0" if node.op == "sum" else "1.0"
            held = f"tl.where(j{size} < {size}, {value}, {neutral})"
            return f"tl.sum({held}, axis=1)" if node.op == "sum" else f"tl.reduce({held}, 1, multiply)"
        largest = node.op in ("amax", "argmax")
        edge = 'float("-inf")' if largest else 'float("inf")'
        # A comparison loses NaN: where one stands first is looked for aside.
        self.lines += [
            f"m{at} = tl.min(tl.where(({value} != {value}) & (j{size} < {size}), j{size}, {size}), axis=1)",
            f"x{at} = tl.where((j{size} < {size}) & ({value} == {value}), {value}, {edge})",
            f"b{at} = tl.{'max' if largest else 'min'}(x{at}, axis=1)",
        ]
        if node.op not in POSITIONS:
            return f'tl.where(m{at} < {size}, float("nan"), b{at})'
        self.lines.append(f"p{at} = tl.min(tl.where((x{at} == b{at}[:, None]) & (j{size} < {size}), j{size}, {size}), axis=1)")
        return f"tl.where(m{at} < {size}, m{at}, p{at}).to(tl.int64)"

    def _linear(self, at: int, node: Node) -> str:
        outputs, inputs = self.graph.nodes[node.args[1]].row
        w, side = self.pointer(node.args[1]), max(LEAST_SIDE, power_of_two(outputs))
        bias = self.pointer(node.args[2]) if len(node.args) == 3 else None
        if outputs <= _FEW:
            return self._sums(at, node, inputs, outputs, w, bias)
        chunk = min(CHUNK, max(LEAST_SIDE, power_of_two(inputs)))
        self.lines += [f"n{at} = tl.arange(0, {side})[None, :]"]
        if self._is_chunked(node):
            self._chunked_product(at, node, inputs, outputs, side, chunk, w)
        else:
            self._held_product(at, node, inputs, outputs, side, w)
        if bias:
            self.lines.append(f"s{at} += tl.load({bias} + n{at}, mask=n{at} < {outputs}, other=0)")
        return f"s{at}"

    def _sums(self, at: int, node: Node, inputs: int, outputs: int, w: str, bias: str | None) -> str:
        """Few outputs: a sum for each, which need no sixteen rows as a matrix product does."""
        value = self.name(node.args[0])
        for j in range(outputs):
            weights = f"tl.load({w} + {j * inputs} + j{inputs}, mask=j{inputs} < {inputs}, other=0)"
            total = f"tl.sum(tl.where(j{inputs} < {inputs}, {value} * {weights}, 0.0), axis=1)[:, None]"
            total = f"{total} + tl.load({bias} + {j})" if bias else total
            self.lines.append(f"s{at} = {total}" if j == 0 else f"s{at} = tl.where(j{outputs} == {j}, {total}, s{at})")
        return f"s{at}"

    def _chunked_product(self, at: int, node: Node, inputs: int, outputs: int, side: int, chunk: int, w: str) -> None:
        x = self.pointer(node.args[0])
        self.lines += [
            f"s{at} = tl.zeros([{self.rows}, {side}], tl.float32)",
            f"for k in range(0, {inputs}, {chunk}):",
            f"    i{at} = k + tl.arange(0, {chunk})",
            f"    x{at} = tl.load({x} + rows[:, None] * {inputs} + i{at}[None, :], "
            f"mask=here[:, None] & (i{at}[None, :] < {inputs}), other=0)",
            f"    w{at} = tl.load({w} + n{at} * {inputs} + i{at}[:, None], "
            f"mask=(i{at}[:, None] < {inputs}) & (n{at} < {outputs}), other=0)",
            f'    s{at} = tl.dot(x{at}, w{at}, s{at}, input_precision="ieee")',
        ]

    def _held_product(self, at: int, node: Node, inputs: int, outputs: int, side: int, w: str) -> None:
        depth, value = power_of_two(inputs), self.name(node.args[0])
        if depth * side > _MOST_WEIGHTS:
            raise NotFusable(f"a matrix product of {inputs} worked-out values and {outputs} outputs does not fit a program")
        if depth < LEAST_SIDE:
            self.lines.append(f"s{at} = tl.zeros([{self.rows}, {side}], tl.float32)")
            for k in range(inputs):
                self.lines.append(f"s{at} += tl.sum(tl.where(j{inputs} == {k}, {value}, 0.0), axis=1)[:, None] * "
                                  f"tl.load({w} + n{at} * {inputs} + {k}, mask=n{at} < {outputs}, other=0)")  # fmt: skip
            return
        self.lines += [
            f"i{at} = tl.arange(0, {depth})",
            f"w{at} = tl.load({w} + n{at} * {inputs} + i{at}[:, None], "
            f"mask=(i{at}[:, None] < {inputs}) & (n{at} < {outputs}), other=0)",
            f"x{at} = tl.where(i{at}[None, :] < {inputs}, {value}, 0.0)",
            f's{at} = tl.dot(x{at}, w{at}, input_precision="ieee")',
        ]
