"""Writes a graph down as one C function, for any number of rows.

Blocks of rows go through a sequence of loops whose results stay in scratch memory. A value of at most 16 elements is kept with the
rows side by side, so that vectors hold rows; a wider one with its elements side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inference_core.fusion import tiles
from inference_core.fusion.ir import Graph, Kind, Node, NotFusable
from inference_core.fusion.operations import ELEMENTWISE, POSITIONS, REDUCTIONS, cost_of
from inference_core.fusion.placement import Packed, constants_read, is_number, only_ones_differ, written_down

NARROW = 16
CHANGED = 2
"""What a kernel answers when memory that it watches is not as it was."""
# Up to this many outputs a matrix product is so many dot products.
DOT_OUTPUTS = 8
_MOST_ROWS = 64
_SCRATCH_FLOATS = 12_288
# Multiplications below which a second thread costs more than it brings.
_WORK_FOR_THREADS = 400_000
_C_TYPES = {Kind.NUMBER: "float", Kind.TRUTH: "uint8_t", Kind.POSITION: "int64_t"}
_LOCAL = {Kind.NUMBER: "float", Kind.TRUTH: "int", Kind.POSITION: "int32_t"}

Index = tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Where a value lies: element i of row r at name[r * by_row + i . strides]; `uniform` is the stride of a flat position."""

    name: str
    by_row: int
    strides: tuple[int, ...]
    uniform: int | None
    start: int = 0


@dataclass(frozen=True)
class CSource:
    """Attributes:
    text: the C source; its function `run` takes rows, threads, the constants' addresses, the arguments, the outputs.
    arguments: positions of the arguments that vary, in the order that `run` takes them.
    constants: what the constants' addresses are of.
    loops: how many loops a block goes through.
    """

    text: str
    arguments: tuple[int, ...]
    constants: tuple[Packed, ...]
    loops: int


def emit_c(graph: Graph, watched: Sequence[int] = ()) -> CSource:
    """Return the C source of a graph.

    Args:
        watched: sizes in bytes of memory that is compared first: behind the constants stand the address of each and of what it was;
            `run` answers CHANGED where they differ, and 1 where there is no memory.

    Raises:
        NotFusable: some part of it has no form in C.
    """
    return _Emitter(graph, tuple(watched)).source()


def _strides(row: tuple[int, ...], step: int = 1) -> tuple[int, ...]:
    return tuple(step * math.prod(row[d + 1 :]) for d in range(len(row)))


def _literal(value: float) -> str:
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "(-INFINITY)"
    return f"({value.hex()}f)"


class _Body:
    """The statements of one loop's body; what is worked out once has a name in it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[tuple[int, Index], str] = {}

    def named(self, kind: Kind, expression: str) -> str:
        name = f"t{len(self.lines)}"
        self.lines.append(f"const {_LOCAL[kind]} {name} = {expression};")
        return name


class _Emitter:
    def __init__(self, graph: Graph, watched: tuple[int, ...]) -> None:
        self._graph = graph
        self._watched = watched
        self._kept = written_down(graph)
        self._rows = self._rows_a_block()
        self._arguments = [at for at, node in enumerate(graph.nodes) if node.op == "argument" and node.varies]
        self._constants: list[Packed] = []
        self._places: dict[int, Place] = {}
        self._outer: dict[int, Place] = {}
        self._scratch = 0
        self._zeroed: list[tuple[int, int]] = []
        self._tables: list[str] = []
        self._tiles: dict[str, str] = {}
        self._lines: list[str] = []

    def _rows_a_block(self) -> int:
        inside = [at for at in self._kept if at not in self._graph.outputs or self._is_turned(at)]
        inside += [at for at, node in enumerate(self._graph.nodes) if node.op == "argument" and node.varies and self._is_turned(at)]
        per_row = sum(self._graph.nodes[at].elements for at in inside)
        per_row += sum(self._graph.nodes[at].elements for at in self._kept if self._graph.nodes[at].op == "conv2d")
        return max(1, min(_MOST_ROWS, _SCRATCH_FLOATS // max(1, per_row)))

    # --- the whole ---------------------------------------------------------------------------------------------------

    def source(self) -> CSource:
        self._outer = {at: self._outside(f"a{i}", self._graph.nodes[at]) for i, at in enumerate(self._arguments)}
        self._outer |= {at: self._outside(f"o{i}", self._graph.nodes[at]) for i, at in enumerate(dict.fromkeys(self._graph.outputs))}
        for at in self._arguments:
            self._places[at] = self._turned_in(at) if self._is_turned(at) else self._outer[at]
        for at in constants_read(self._graph):
            self._constant_place(at)
        for at in self._kept:
            self._write(at)
            if at in self._graph.outputs and self._places[at] != self._outer[at]:
                self._copy_out(at)
        text = self._text()
        arguments = tuple(self._graph.nodes[at].value for at in self._arguments)
        return CSource(text, arguments, tuple(self._constants), len(self._kept))

    def _outside(self, name: str, node: Node) -> Place:
        return Place(name, node.elements, _strides(node.row), 1)

    def _text(self) -> str:
        nodes = self._graph.nodes
        inputs = [f"const {_C_TYPES[nodes[at].kind]} *restrict a{i}" for i, at in enumerate(self._arguments)]
        outputs = list(dict.fromkeys(self._graph.outputs))
        results = [f"{_C_TYPES[nodes[at].kind]} *restrict o{i}" for i, at in enumerate(outputs)]
        parameters = ", ".join([*inputs, *results])
        moved = [f"a{i} + first * {nodes[at].elements}" for i, at in enumerate(self._arguments)]
        moved += [f"o{i} + first * {nodes[at].elements}" for i, at in enumerate(outputs)]
        constants = [
            f"    const {_C_TYPES[nodes[one.node].kind]} *restrict c{i} = constants[{i}];" for i, one in enumerate(self._constants)
        ]
        header = Path(__file__).with_name("vector_math.h").read_text()
        clear = [f"memset(scratch + {start}, 0, {size} * sizeof(float));" for start, size in self._zeroed]
        return "\n".join([
            "#include <stdlib.h>", header, tiles.VECTORS, tiles.PUT, *self._tiles.values(), *self._tables,
            f"INLINE void block(const int64_t rows, const void *const *constants, float *restrict scratch, {parameters}) {{",
            *constants, *self._lines, "}", "",
            f"static int part(int64_t from, int64_t to, const void *const *constants, {parameters}) {{",
            f"    float *scratch = aligned_alloc(64, {max(64, -(-self._scratch // 16) * 64)});",
            "    if (!scratch) return 1;",
            *(f"    {line}" for line in clear),
            f"    for (int64_t first = from; first < to; first += {self._rows}) {{",
            f"        const int64_t rows = to - first < {self._rows} ? to - first : {self._rows};",
            f"        block(rows, constants, scratch, {', '.join(moved)});",
            "    }", "    free(scratch);", "    return 0;", "}", "",
            f"int run(int64_t n, int64_t threads, const void *const *constants, {parameters}) {{",
            *(f"    if (memcmp(constants[{len(self._constants) + 2 * i}], constants[{len(self._constants) + 2 * i + 1}], {size})) "
              f"return {CHANGED};" for i, size in enumerate(self._watched)),
            f"    if (threads < 2 || n * {self._work()} < {_WORK_FOR_THREADS} || n < 2 * {self._rows})",
            f"        return part(0, n, constants, {self._passed()});",
            "    int failed = 0;",
            "    #pragma omp parallel for num_threads(threads) reduction(|:failed)",
            "    for (int64_t t = 0; t < threads; t++)",
            f"        failed |= part(n * t / threads, n * (t + 1) / threads, constants, {self._passed()});",
            "    return failed;", "}", "",
        ])  # fmt: skip

    def _passed(self) -> str:
        return ", ".join([f"a{i}" for i in range(len(self._arguments))] + [f"o{i}" for i in range(len(set(self._graph.outputs)))])

    def _work(self) -> int:
        return max(1, sum(work_of(self._graph, node) for node in self._graph.nodes))

    # --- places ------------------------------------------------------------------------------------------------------

    def _constant(self, at: int, form: str) -> str:
        packed = Packed(at, form)
        if packed not in self._constants:
            self._constants.append(packed)
        return f"c{self._constants.index(packed)}"

    def _constant_place(self, at: int) -> None:
        """Constants that loops read, not the weights of layers, which are packed where they are used."""
        readers = [self._graph.nodes[user] for user in self._graph.users()[at]]
        if any(reader.varies and reader.op not in ("linear", "conv2d") for reader in readers):
            node = self._graph.nodes[at]
            self._places[at] = Place(self._constant(at, "plain"), 0, _strides(node.row), 1)

    def _take(self, floats: int) -> int:
        start = self._scratch
        self._scratch += -(-floats // 16) * 16
        return start

    def _place_for(self, at: int) -> Place:
        """Return the place of a value to be written down, made if it has none yet."""
        if at not in self._places:
            is_outer = at in self._outer and not self._is_turned(at)
            self._places[at] = self._outer[at] if is_outer else self._within(self._graph.nodes[at])
        return self._places[at]

    def _within(self, node: Node) -> Place:
        start = self._take(node.elements * self._rows)
        step, by_row = (self._rows, 1) if node.elements <= NARROW else (1, node.elements)
        return Place("scratch", by_row, _strides(node.row, step), step, start)

    def _is_turned(self, at: int) -> bool:
        """Whether rows of few elements outside lie side by side within: loads with a step are no vectors."""
        node = self._graph.nodes[at]
        return 1 < node.elements <= NARROW and node.kind is not Kind.POSITION

    def _turned_in(self, at: int) -> Place:
        node, outer = self._graph.nodes[at], self._outer[at]
        place = self._within(node)
        self._copy_flat(node, place, outer)
        return place

    def _copy_flat(self, node: Node, to: Place, of: Place) -> None:
        self._say(1, f"for (int64_t r = 0; r < rows; r++) for (int64_t j = 0; j < {node.elements}; j++)",
                  f"    {to.name}[r * {to.by_row} + j * {to.uniform} + {to.start}] = "
                  f"{of.name}[r * {of.by_row} + j * {of.uniform} + {of.start}];")  # fmt: skip

    def _found(self, at: int) -> Place | None:
        """Return where a value lies, through views of what has a place; None for one that is part of an expression."""
        if at in self._places:
            return self._places[at]
        node = self._graph.nodes[at]
        if node.op not in ("reshape", "narrow") or not node.varies:
            return None
        below = self._found(node.args[0])
        if below is None or below.uniform is None or node.op == "narrow" and len(node.row) != 1:
            return None
        start = below.start + (node.value * below.uniform if node.op == "narrow" else 0)
        return Place(below.name, below.by_row, _strides(node.row, below.uniform), below.uniform, start)

    @staticmethod
    def _address(place: Place, index: Index, row: str = "r") -> str:
        parts = [f"{row} * {place.by_row}"] if place.by_row else []
        parts += [f"({i}) * {s}" for i, s in zip(index, place.strides, strict=True) if i != "0"]
        parts += [str(place.start)] if place.start else []
        return f"{place.name}[{' + '.join(parts) or '0'}]"

    # --- expressions -------------------------------------------------------------------------------------------------

    def _value(self, body: _Body, at: int, index: Index) -> str:
        """Return the name or number of a value's element at an index of its row."""
        node = self._graph.nodes[at]
        if is_number(node):
            return _literal(node.value)
        key = (at, index)
        if key not in body.names:
            place = self._found(at)
            expression = self._address(place, index) if place else self._expression(body, node, index)
            body.names[key] = body.named(node.kind, expression)
        return body.names[key]

    def _expression(self, body: _Body, node: Node, index: Index) -> str:
        if node.op == "reshape":
            return self._value(body, node.args[0], self._through_reshape(node, index))
        if node.op == "narrow":
            return self._value(body, node.args[0], (*index[:-1], f"{index[-1]} + {node.value}"))
        if node.op not in ELEMENTWISE:
            raise NotFusable(f"{node.op} within an expression")
        operands = [self._value(body, arg, self._spread(self._graph.nodes[arg].row, node.row, index)) for arg in node.args]
        return ELEMENTWISE[node.op].c.format(*operands)

    @staticmethod
    def _spread(row: tuple[int, ...], wide: tuple[int, ...], index: Index) -> Index:
        """Return the index in a value that is broadcast: its dimensions of one have but one place."""
        return tuple("0" if size == 1 else i for size, i in zip(row, index[len(wide) - len(row) :], strict=True))

    def _through_reshape(self, node: Node, index: Index) -> Index:
        below = self._graph.nodes[node.args[0]].row
        if only_ones_differ(below, node.row):
            left = iter([i for i, size in zip(index, node.row, strict=True) if size != 1])
            return tuple("0" if size == 1 else next(left) for size in below)
        flat = " + ".join(f"({i}) * {s}" for i, s in zip(index, _strides(node.row), strict=True)) or "0"
        return tuple(f"(({flat}) / {s} % {size})" for s, size in zip(_strides(below), below, strict=True))

    # --- loops -------------------------------------------------------------------------------------------------------

    def _say(self, depth: int, *lines: str) -> None:
        self._lines += ["    " * depth + line for line in lines]

    def _write(self, at: int) -> None:
        node = self._graph.nodes[at]
        self._say(1, f"/* {node.op} {list(node.row)} */")
        if node.op == "linear":
            self._write_linear(at, node)
        elif node.op == "conv2d":
            self._write_convolution(at, node)
        elif node.op in REDUCTIONS:
            self._write_reduction(at, node)
        else:
            self._write_elements(at, node)

    def _write_elements(self, at: int, node: Node) -> None:
        place = self._place_for(at)
        del self._places[at]  # while it is worked out it is no value to be read
        if node.elements <= NARROW:
            body = _Body()
            for index in _indices(node.row):
                body.lines.append(f"{self._address(place, index)} = {self._value(body, at, index)};")
            self._over_rows(body)
        else:
            self._over_elements(at, node, place)
        self._places[at] = place

    def _over_rows(self, body: _Body) -> None:
        self._say(1, "#pragma omp simd", "for (int64_t r = 0; r < rows; r++) {")
        self._say(2, *body.lines)
        self._say(1, "}")

    def _over_elements(self, at: int, node: Node, place: Place) -> None:
        flat = self._is_flat(at, node.row) and place.uniform is not None
        body = _Body()
        if flat:
            sizes, index = (node.elements,), ("j0",)
            value = self._flat_value(body, at)
            target = f"{place.name}[r * {place.by_row} + j0 * {place.uniform} + {place.start}]"
        else:
            sizes, index = node.row, tuple(f"j{d}" for d in range(len(node.row)))
            value, target = self._value(body, at, index), self._address(place, index)
        self._say(1, "for (int64_t r = 0; r < rows; r++) {")
        for d, size in enumerate(sizes):
            if d == len(sizes) - 1:
                self._say(2 + d, "#pragma omp simd")
            self._say(2 + d, f"for (int64_t {index[d]} = 0; {index[d]} < {size}; {index[d]}++) {{")
        self._say(2 + len(sizes), *body.lines, f"{target} = {value};")
        for d in range(len(sizes), -1, -1):
            self._say(1 + d, "}")

    def _is_flat(self, at: int, row: tuple[int, ...]) -> bool:
        """Whether a value of several dimensions is made of values of its own shape and single numbers alone."""
        node = self._graph.nodes[at]
        if len(row) < 2 or node.row != row:
            return len(row) >= 2 and node.elements == 1
        place = self._found(at)
        if place is not None:
            return place.uniform is not None
        return node.op in ELEMENTWISE and all(self._is_flat(arg, row) for arg in node.args)

    def _flat_value(self, body: _Body, at: int) -> str:
        node = self._graph.nodes[at]
        if node.elements == 1:
            return self._value(body, at, ("0",) * len(node.row))
        key = (at, ("j0",))
        if key not in body.names:
            place = self._found(at)
            if place is not None:
                expression = f"{place.name}[r * {place.by_row} + j0 * {place.uniform} + {place.start}]"
            else:
                expression = ELEMENTWISE[node.op].c.format(*(self._flat_value(body, arg) for arg in node.args))
            body.names[key] = body.named(node.kind, expression)
        return body.names[key]

    # --- reductions --------------------------------------------------------------------------------------------------

    def _write_reduction(self, at: int, node: Node) -> None:
        place, operand = self._place_for(at), node.args[0]
        size = self._graph.nodes[operand].row[-1]
        if self._graph.nodes[operand].elements <= NARROW:
            body = _Body()
            for index in _indices(node.row):
                values = [self._value(body, operand, (*index, str(j))) for j in range(size)]
                body.lines.append(f"{self._address(place, index)} = {self._gathered(body, node, values)};")
            self._over_rows(body)
            return
        index = tuple(f"j{d}" for d in range(len(node.row)))
        self._say(1, "for (int64_t r = 0; r < rows; r++) {")
        for d, length in enumerate(node.row):
            self._say(2 + d, f"for (int64_t j{d} = 0; j{d} < {length}; j{d}++) {{")
        self._along(2 + len(node.row), node, operand, index, size, self._address(place, index))
        for d in range(len(node.row), -1, -1):
            self._say(1 + d, "}")

    @staticmethod
    def _gathered(body: _Body, node: Node, values: list[str]) -> str:
        if node.op not in POSITIONS:
            found = values[0]
            for value in values[1:]:
                found = body.named(Kind.NUMBER, REDUCTIONS[node.op].c.format(found, value))
            return found
        sign = ">" if node.op == "argmax" else "<"
        best, position, missing = values[0], "0", "-1"
        for j, value in enumerate(values[1:], 1):
            position = body.named(Kind.POSITION, f"{value} {sign} {best} ? {j} : {position}")
            best = body.named(Kind.NUMBER, f"{value} {sign} {best} ? {value} : {best}")
        for j, value in reversed(list(enumerate(values))):  # the first NaN stands before all numbers
            missing = body.named(Kind.POSITION, f"{value} != {value} ? {j} : {missing}")
        return body.named(Kind.POSITION, f"{missing} < 0 ? {position} : {missing}")

    def _along(self, depth: int, node: Node, operand: int, index: Index, size: int, target: str) -> None:
        body = _Body()
        value = self._value(body, operand, (*index, "j"))
        loop = f"for (int64_t j = 0; j < {size}; j++) {{"
        if node.op in POSITIONS:
            self._say(depth, "float best = 0; int64_t position = 0;", loop)
            self._say(depth + 1, *body.lines, f"if (j == 0 || {_better(node.op, value, 'best')}) {{ best = {value}; position = j; }}")
            self._say(depth, "}", f"{target} = position;")
            return
        reduction = REDUCTIONS[node.op]
        extreme = reduction.simd in ("max", "min")
        # In a vector the comparison would lose NaN: it is remembered aside.
        step = f"found = {value} {'>' if reduction.simd == 'max' else '<'} found ? {value} : found; missing |= {value} != {value};"
        step = step if extreme else f"found = {reduction.c.format('found', value)};"
        self._say(depth, f"float found = {reduction.start};", *(["int missing = 0;"] if extreme else []),
                  f"#pragma omp simd reduction({reduction.simd}:found)" + (" reduction(|:missing)" if extreme else ""), loop)  # fmt: skip
        self._say(depth + 1, *body.lines, step)
        self._say(depth, "}", f"{target} = {'missing ? NAN : found' if extreme else 'found'};")

    # --- matrices ----------------------------------------------------------------------------------------------------

    def _write_linear(self, at: int, node: Node) -> None:
        place = self._place_for(at)
        x = (self._outer.get(node.args[0]) if self._graph.nodes[node.args[0]].op == "argument" else None) or self._found(node.args[0])
        if x is None or x.uniform is None:
            raise NotFusable("a matrix product of rows that have no place")
        outputs, inputs = self._graph.nodes[node.args[1]].row
        if outputs <= DOT_OUTPUTS:
            self._write_dots(node, place, x, outputs, inputs)
            return
        w = self._constant(node.args[1], "panels")
        bias = self._constant(node.args[2], "padded") if len(node.args) == 3 else "0"
        panels = -(-outputs // tiles.LANES)
        self._say(1, "{", "    int64_t r = 0;")
        rows = TILE_SIZES[min(panels, tiles.MOST_PANELS)]
        for size in [step for step in rows if step <= self._rows]:
            most = tiles.ONE_ROW_PANELS if size == 1 else tiles.MOST_PANELS
            self._say(2, f"for (; r + {size} <= rows; r += {size}) {{")
            for first, count in tiles.panel_groups(panels, most):
                name = tiles.product_name(size, count)
                self._tiles.setdefault(name, tiles.product_tile(size, count))
                columns = first * tiles.LANES
                shift = f"{bias} + {columns}" if bias != "0" else "0"
                self._say(3, f"{name}({inputs}, {_pointer(x, 'r')}, {x.by_row}, {x.uniform}, {w} + {columns * inputs}, {shift}, "
                             f"{_pointer(place, 'r')} + {columns * place.uniform}, {place.by_row}, {place.uniform}, "
                             f"{outputs - columns});")  # fmt: skip
            self._say(2, "}")
        self._say(1, "}")

    def _write_dots(self, node: Node, place: Place, x: Place, outputs: int, inputs: int) -> None:
        w = self._constant(node.args[1], "plain")
        bias = self._constant(node.args[2], "plain") if len(node.args) == 3 else None
        sums = [f"s{j}" for j in range(outputs)]
        self._say(1, "for (int64_t r = 0; r < rows; r++) {", f"    const float *x = {_pointer(x, 'r')};",
                  f"    float {', '.join(f'{name} = 0.0f' for name in sums)};",
                  f"    #pragma omp simd reduction(+:{', '.join(sums)})", f"    for (int64_t k = 0; k < {inputs}; k++) {{",
                  f"        const float v = x[k * {x.uniform}];")  # fmt: skip
        self._say(3, *(f"s{j} += v * {w}[{j * inputs} + k];" for j in range(outputs)))
        self._say(2, "}")
        for j in range(outputs):
            index = (str(j),)
            self._say(2, f"{self._address(place, index)} = s{j}{f' + {bias}[{j}]' if bias else ''};")
        self._say(1, "}")

    def _write_convolution(self, at: int, node: Node) -> None:
        shape = _Convolution.of(self._graph, node)
        stage = self._take(shape.staged + tiles.LANES)
        self._zeroed.append((stage, shape.staged + tiles.LANES))
        result = self._take(node.row[0] * shape.channel * self._rows)
        place = Place("scratch", node.row[0] * shape.channel, (shape.channel, shape.line, 1), None, result)
        w = self._constant(node.args[1], "plain")
        bias = self._constant(node.args[2], "plain") if len(node.args) == 3 else None
        self._tables.append(f"static const int32_t offset_{at}[] = {{{', '.join(map(str, shape.offsets))}}};")
        self._say(1, "for (int64_t r = 0; r < rows; r++) {", f"    float *image = scratch + {stage};")
        self._stage_image(node.args[0], shape)
        for first, channels in tiles.panel_groups(node.row[0], tiles.CHANNELS_A_TILE):
            for start, vectors in tiles.panel_groups(shape.channel // tiles.LANES, tiles.VECTORS_A_TILE):
                name = tiles.convolution_name(channels, vectors)
                self._tiles.setdefault(name, tiles.convolution_tile(channels, vectors))
                depth = len(shape.offsets)
                self._say(2, f"{name}({depth}, image + {start * tiles.LANES}, offset_{at}, {w} + {first * depth}, "
                             f"{f'{bias} + {first}' if bias else '0'}, {_pointer(place, 'r')} + "
                             f"{first * shape.channel + start * tiles.LANES}, {shape.channel});")  # fmt: skip
        self._say(1, "}")
        self._places[at] = place

    def _copy_out(self, at: int) -> None:
        node, place, outer = self._graph.nodes[at], self._places[at], self._outer[at]
        if place.uniform is not None:
            self._copy_flat(node, outer, place)
            return
        index = ("c", "y", "x")  # a convolution's lines have garbage behind them
        self._say(1, f"for (int64_t r = 0; r < rows; r++) for (int64_t c = 0; c < {node.row[0]}; c++)",
                  f"    for (int64_t y = 0; y < {node.row[1]}; y++) for (int64_t x = 0; x < {node.row[2]}; x++)",
                  f"        {self._address(outer, index)} = {self._address(place, index)};")  # fmt: skip

    def _stage_image(self, x: int, shape: _Convolution) -> None:
        """Copy one image between its borders; with steps above one, places that a filter's element meets lie side by side."""
        channels, height, width = self._graph.nodes[x].row
        body = _Body()
        value = self._value(body, x, ("c", "y", "x"))
        self._say(2, f"for (int64_t c = 0; c < {channels}; c++)", f"    for (int64_t y = 0; y < {height}; y++)",
                  "        #pragma omp simd", f"        for (int64_t x = 0; x < {width}; x++) {{")  # fmt: skip
        self._say(5, *body.lines, f"image[{shape.place_of('c', 'y', 'x')}] = {value};")
        self._say(4, "}")


TILE_SIZES = {panels: sorted({rows, 4, 2, 1}, reverse=True) for panels, rows in tiles.TILE_ROWS.items()}


def _pointer(place: Place, row: str) -> str:
    return f"{place.name} + {row} * {place.by_row} + {place.start}"


def _better(op: str, value: str, best: str) -> str:
    """The first of the smallest or largest; NaN before all, as in PyTorch."""
    return f"(({value} {'>' if op == 'argmax' else '<'} {best}) | (({value} != {value}) & ({best} == {best})))"


def _indices(row: tuple[int, ...]) -> list[Index]:
    found: list[Index] = [()]
    for size in row:
        found = [(*index, str(i)) for index in found for i in range(size)]
    return found


def work_of(graph: Graph, node: Node) -> int:
    """Return about how many multiplications a row of a value takes."""
    if not node.varies:
        return 0
    if node.op == "linear":
        return math.prod(graph.nodes[node.args[1]].row) // tiles.LANES
    if node.op == "conv2d":
        return math.prod(graph.nodes[node.args[1]].row) * math.prod(node.row[1:]) // tiles.LANES
    if node.op in REDUCTIONS:
        return graph.nodes[node.args[0]].elements
    return cost_of(node.op) * node.elements


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
        return cls(offsets, channels * sy * sx * lines * line, line, -(-places // tiles.LANES) * tiles.LANES, (sy, sx), (py, px), lines)

    def place_of(self, c: str, y: str, x: str) -> str:
        (sy, sx), (py, px) = self.stride, self.padding
        at_y, at_x = f"({y} + {py})", f"({x} + {px})"
        if (sy, sx) == (1, 1):
            return f"({c} * {self.lines} + {at_y}) * {self.line} + {at_x}"
        return f"((({c} * {sy} + {at_y} % {sy}) * {sx} + {at_x} % {sx}) * {self.lines} + {at_y} / {sy}) * {self.line} + {at_x} / {sx}"
