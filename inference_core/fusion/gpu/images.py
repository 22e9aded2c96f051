"""Functions of images: a convolution and what follows it, element by element."""

from __future__ import annotations

from inference_core.fusion.gpu.program import CHUNK, LEAST_SIDE, Program, power_of_two
from inference_core.fusion.ir import Graph, Kind, Node, NotFusable
from inference_core.fusion.operations import REDUCTIONS
from inference_core.fusion.placement import only_ones_differ

_PIXELS = 64


class Images(Program):
    """A program holds places of output images [P] by channels [power of two]."""

    rows = _PIXELS

    def __init__(self, graph: Graph, statistics: frozenset[int]) -> None:
        super().__init__(graph, statistics)
        layers = [at for at, node in enumerate(graph.nodes) if node.op == "conv2d"]
        self._layer = layers[0]
        self._shape = graph.nodes[self._layer].row
        node = graph.nodes[self._layer]
        if len(layers) > 1 or graph.nodes[node.args[0]].op != "argument" or len(graph.users()[node.args[0]]) > 1:
            raise NotFusable("a convolution that is not the first step, or a second one, on a GPU")
        after = [one for at, one in enumerate(graph.nodes) if one.varies and at != node.args[0]]
        if any(one.row != self._shape or one.op in REDUCTIONS or one.op == "linear" for one in after):
            raise NotFusable("operations behind a convolution that are not on its elements, on a GPU")
        self.places = self._shape[1] * self._shape[2]

    def is_read_elsewhere(self, at: int) -> bool:
        return at == self.graph.nodes[self._layer].args[0]

    def begin(self) -> None:
        channels, height, width = self._shape
        side = max(LEAST_SIDE, power_of_two(channels))
        self.lines += [
            f"at = tl.program_id(0).to(tl.int64) * {self.rows} + tl.arange(0, {self.rows})",
            f"here = at < n * {self.places}",
            f"image = at // {self.places}",
            f"place = at % {self.places}",
            f"y = place // {width}",
            f"x = place % {width}",
            f"c = tl.arange(0, {side})[None, :]",
            f"inside = here[:, None] & (c < {channels})",
            f"to = image[:, None] * {channels * self.places} + c * {self.places} + place[:, None]",
        ]

    def load(self, at: int) -> str:
        truth = " != 0" if self.graph.nodes[at].kind is Kind.TRUTH else ""
        return f"tl.load({self.pointer(at)} + to, mask=inside, other=0){truth}"

    def load_constant(self, at: int) -> str:
        node = self.graph.nodes[at]
        if node.elements == 1:
            return f"tl.load({self.pointer(at)})"
        # By channel: [C, 1, 1] behind the convolution, [C] where it is a statistic.
        if only_ones_differ(node.row, (self._shape[0],)) and (len(node.row) == 1) == (at in self.live or self._is_for_live(at)):
            return f"tl.load({self.pointer(at)} + c, mask=c < {self._shape[0]}, other=0)"
        raise NotFusable(f"a constant of shape {list(node.row)} behind a convolution, on a GPU")

    def _is_for_live(self, at: int) -> bool:
        users = self.graph.users()[at]
        return bool(users) and all(user in self.live for user in users)

    def store(self, i: int, at: int) -> None:
        self.lines.append(f"tl.store(o{i} + to, v{at}, mask=inside)")

    def operation(self, at: int, node: Node) -> str:
        if at != self._layer:
            return super().operation(at, node)
        (sy, sx), (py, px), (dy, dx) = node.value
        channels, height, width = self.graph.nodes[node.args[0]].row
        outputs, _, fy, fx = self.graph.nodes[node.args[1]].row
        depth, side = channels * fy * fx, max(LEAST_SIDE, power_of_two(outputs))
        chunk = min(CHUNK, max(LEAST_SIDE, power_of_two(depth)))
        x, w = self.pointer(node.args[0]), self.pointer(node.args[1])
        self.lines += [
            f"s = tl.zeros([{self.rows}, {side}], tl.float32)",
            f"for k in range(0, {depth}, {chunk}):",
            f"    i = k + tl.arange(0, {chunk})",
            f"    line = (y * {sy} - {py})[:, None] + (i // {fx} % {fy} * {dy})[None, :]",
            f"    column = (x * {sx} - {px})[:, None] + (i % {fx} * {dx})[None, :]",
            f"    within = (line >= 0) & (line < {height}) & (column >= 0) & (column < {width})",
            f"    within = within & here[:, None] & (i < {depth})[None, :]",
            f"    of = image[:, None] * {channels * height * width} + (i // {fy * fx})[None, :] * {height * width} "
            f"+ line * {width} + column",
            f"    piece = tl.load({x} + of, mask=within, other=0)",
            f"    weights = tl.load({w} + c * {depth} + i[:, None], mask=(i[:, None] < {depth}) & (c < {outputs}), other=0)",
            '    s = tl.dot(piece, weights, s, input_precision="ieee")',
        ]
        return f"s + tl.load({self.pointer(node.args[2])} + c, mask=c < {outputs}, other=0)" if len(node.args) == 3 else "s"
