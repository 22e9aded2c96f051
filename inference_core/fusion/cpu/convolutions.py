"""Convolutions of images with constant filters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from inference_core.fusion.cpu import tiles
from inference_core.fusion.cpu.body import Body
from inference_core.fusion.cpu.places import Place
from inference_core.fusion.ir import Graph, Node

if TYPE_CHECKING:
    from inference_core.fusion.cpu.emitter import Emitter


def write_convolution(of: Emitter, at: int, node: Node) -> None:
    """Write a convolution: image by image, with neighbouring places in vectors and no copy for each element of the filter."""
    shape = _Convolution.of(of.graph, node)
    stage = of.take(shape.staged + tiles.LANES)
    of.zeroed.append((stage, shape.staged + tiles.LANES))
    result = of.take(node.row[0] * shape.channel * of.rows)
    place = Place("scratch", node.row[0] * shape.channel, (shape.channel, shape.line, 1), None, result)
    w = of.constant(node.args[1], "plain")
    bias = of.constant(node.args[2], "plain") if len(node.args) == 3 else None
    of.tables.append(f"static const int32_t offset_{at}[] = {{{', '.join(map(str, shape.offsets))}}};")
    of.say(1, "for (int64_t r = 0; r < rows; r++) {", f"    float *image = scratch + {stage};")
    _stage_image(of, node.args[0], shape)
    for first, channels in tiles.panel_groups(node.row[0], tiles.CHANNELS_A_TILE):
        for start, vectors in tiles.panel_groups(shape.channel // tiles.LANES, tiles.VECTORS_A_TILE):
            name = tiles.convolution_name(channels, vectors)
            of.tiles.setdefault(name, tiles.convolution_tile(channels, vectors))
            depth = len(shape.offsets)
            of.say(2, f"{name}({depth}, image + {start * tiles.LANES}, offset_{at}, {w} + {first * depth}, "
                         f"{f'{bias} + {first}' if bias else '0'}, {place.row()} + "
                         f"{first * shape.channel + start * tiles.LANES}, {shape.channel});")  # fmt: skip
    of.say(1, "}")
    of.places[at] = place


def _stage_image(of: Emitter, x: int, shape: _Convolution) -> None:
    """Copy one image between its borders; with steps above one, places that a filter's element meets lie side by side."""
    channels, height, width = of.graph.nodes[x].row
    body = Body()
    value = of.value(body, x, ("c", "y", "x"))
    of.say(2, f"for (int64_t c = 0; c < {channels}; c++)", f"    for (int64_t y = 0; y < {height}; y++)",
              "        #pragma omp simd", f"        for (int64_t x = 0; x < {width}; x++) {{")  # fmt: skip
    of.say(5, *body.lines, f"image[{shape.place_of('c', 'y', 'x')}] = {value};")
    of.say(4, "}")


@dataclass(frozen=True)
class _Convolution:
    """Attributes:
    offsets: where each element of the filter finds its input, from a place of the output on.
    staged: floats of the image with its borders.
    line: places of the output from one line to the next; those behind the last of a line are garbage.
    channel: floats of an output channel, garbage included.
    """

    offsets: tuple[int, ...]
    staged: int
    line: int
    channel: int
    stride: tuple[int, int]
    padding: tuple[int, int]
    lines: int

    @classmethod
    def of(cls, graph: Graph, node: Node) -> _Convolution:
        (sy, sx), (py, px), (dy, dx) = node.value
        _, height, width = graph.nodes[node.args[0]].row
        _, channels, fy, fx = graph.nodes[node.args[1]].row
        lines, line = -(-(height + 2 * py) // sy), -(-(width + 2 * px) // sx)
        offsets = tuple(
            (((c * sy + y * dy % sy) * sx + x * dx % sx) * lines + y * dy // sy) * line + x * dx // sx
            for c in range(channels) for y in range(fy) for x in range(fx)
        )  # fmt: skip
        places = (node.row[1] - 1) * line + node.row[2]
        channel = -(-places // tiles.LANES) * tiles.LANES
        return cls(offsets, channels * sy * sx * lines * line, line, channel, (sy, sx), (py, px), lines)

    def place_of(self, c: str, y: str, x: str) -> str:
        (sy, sx), (py, px) = self.stride, self.padding
        at_y, at_x = f"({y} + {py})", f"({x} + {px})"
        if (sy, sx) == (1, 1):
            return f"({c} * {self.lines} + {at_y}) * {self.line} + {at_x}"
        image = f"(({c} * {sy} + {at_y} % {sy}) * {sx} + {at_x} % {sx})"
        return f"({image} * {self.lines} + {at_y} / {sy}) * {self.line} + {at_x} / {sx}"
