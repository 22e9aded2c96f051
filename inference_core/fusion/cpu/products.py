"""Matrix products of the rows with constant weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inference_core.fusion.cpu import tiles
from inference_core.fusion.cpu.places import Place
from inference_core.fusion.ir import Node, NotFusable

if TYPE_CHECKING:
    from inference_core.fusion.cpu.emitter import Emitter

# Up to this many outputs a matrix product is so many dot products.
DOT_OUTPUTS = 8
# Panels -> rows of a tile, and what takes the rows that are left.
_TILE_SIZES = {panels: sorted({rows, 4, 2, 1}, reverse=True) for panels, rows in tiles.TILE_ROWS.items()}


def write_linear(of: Emitter, at: int, node: Node) -> None:
    """Write a matrix product: in tiles that keep their sums in registers, or as dot products where outputs are few."""
    place = of.place_for(at)
    x = (of.outer.get(node.args[0]) if of.graph.nodes[node.args[0]].op == "argument" else None) or of.found(node.args[0])
    if x is None or x.uniform is None:
        raise NotFusable("a matrix product of rows that have no place")
    outputs, inputs = of.graph.nodes[node.args[1]].row
    if outputs <= DOT_OUTPUTS:
        _write_dots(of, node, place, x, outputs, inputs)
        return
    w = of.constant(node.args[1], "panels")
    bias = of.constant(node.args[2], "padded") if len(node.args) == 3 else "0"
    panels = -(-outputs // tiles.LANES)
    of.say(1, "{", "    int64_t r = 0;")
    rows = _TILE_SIZES[min(panels, tiles.MOST_PANELS)]
    for size in [step for step in rows if step <= of.rows]:
        most = tiles.ONE_ROW_PANELS if size == 1 else tiles.MOST_PANELS
        of.say(2, f"for (; r + {size} <= rows; r += {size}) {{")
        for first, count in tiles.panel_groups(panels, most):
            name = tiles.product_name(size, count)
            of.tiles.setdefault(name, tiles.product_tile(size, count))
            columns = first * tiles.LANES
            shift = f"{bias} + {columns}" if bias != "0" else "0"
            of.say(3, f"{name}({inputs}, {x.row()}, {x.by_row}, {x.uniform}, {w} + {columns * inputs}, {shift}, "
                         f"{place.row()} + {columns * place.uniform}, {place.by_row}, {place.uniform}, "
                         f"{outputs - columns});")  # fmt: skip
        of.say(2, "}")
    of.say(1, "}")


def _write_dots(of: Emitter, node: Node, place: Place, x: Place, outputs: int, inputs: int) -> None:
    w = of.constant(node.args[1], "plain")
    bias = of.constant(node.args[2], "plain") if len(node.args) == 3 else None
    sums = [f"s{j}" for j in range(outputs)]
    of.say(1, "for (int64_t r = 0; r < rows; r++) {", f"    const float *x = {x.row()};",
              f"    float {', '.join(f'{name} = 0.0f' for name in sums)};",
              f"    #pragma omp simd reduction(+:{', '.join(sums)})", f"    for (int64_t k = 0; k < {inputs}; k++) {{",
              f"        const float v = x[k * {x.uniform}];")  # fmt: skip
    of.say(3, *(f"s{j} += v * {w}[{j * inputs} + k];" for j in range(outputs)))
    of.say(2, "}")
    for j in range(outputs):
        index = (str(j),)
        of.say(2, f"{place.element(index)} = s{j}{f' + {bias}[{j}]' if bias else ''};")
    of.say(1, "}")
