"""Writes a graph down as one C function, for any number of rows.

Blocks of rows go through a sequence of loops whose results stay in scratch memory. A value of at most 16 elements is kept with
the rows side by side, so that vectors hold rows; a wider one with its elements side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inference_core.fusion.cost import work_of
from inference_core.fusion.cpu import tiles
from inference_core.fusion.cpu.body import Body
from inference_core.fusion.cpu.convolutions import write_convolution
from inference_core.fusion.cpu.places import NARROW, Index, Place, indices_of, strides
from inference_core.fusion.cpu.products import write_linear
from inference_core.fusion.cpu.reductions import write_reduction
from inference_core.fusion.ir import Graph, Kind, Node, NotFusable
from inference_core.fusion.operations import ELEMENTWISE, REDUCTIONS
from inference_core.fusion.placement import Packed, constants_read, is_number, only_ones_differ, written_down

CHANGED = 2
"""What a kernel answers when memory that it watches is not as it was."""
_MOST_ROWS = 64
_SCRATCH_FLOATS = 12_288
# Multiplications below which a second thread costs more than it brings.
_WORK_FOR_THREADS = 400_000
_C_TYPES = {Kind.NUMBER: "float", Kind.TRUTH: "uint8_t", Kind.POSITION: "int64_t"}


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
        watched: sizes in bytes of memory that is compared first: behind the constants stand the address of each and of what it
            was; `run` answers CHANGED where they differ, and 1 where there is no memory.

    Raises:
        NotFusable: some part of it has no form in C.
    """
    return Emitter(graph, tuple(watched)).source()


def _literal(value: float) -> str:
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "(-INFINITY)"
    return f"({value.hex()}f)"


class Emitter:
    """Says the loops of a graph one after another; products.py, convolutions.py and reductions.py say theirs through it.

    Attributes:
        rows: rows of a block.
        places: where values lie that are written down so far; outer: arguments and outputs as the caller has them.
        zeroed: (start, floats) of scratch memory that has to be zero at first.
        tables, tiles: constants and functions of C that loops need.
    """

    def __init__(self, graph: Graph, watched: tuple[int, ...]) -> None:
        self.graph = graph
        self._watched = watched
        self._kept = written_down(graph)
        self._arguments = [at for at, node in enumerate(graph.nodes) if node.op == "argument" and node.varies]
        self.rows = self._rows_a_block()
        self._constants: list[Packed] = []
        self.places: dict[int, Place] = {}
        self.outer: dict[int, Place] = {}
        self._scratch = 0
        self.zeroed: list[tuple[int, int]] = []
        self.tables: list[str] = []
        self.tiles: dict[str, str] = {}
        self._lines: list[str] = []

    def _rows_a_block(self) -> int:
        inside = [at for at in self._kept if at not in self.graph.outputs or self._is_turned(at)]
        inside += [at for at in self._arguments if self._is_turned(at)]
        per_row = sum(self.graph.nodes[at].elements for at in inside)
        per_row += sum(self.graph.nodes[at].elements for at in self._kept if self.graph.nodes[at].op == "conv2d")
        return max(1, min(_MOST_ROWS, _SCRATCH_FLOATS // max(1, per_row)))

    # --- the whole ---------------------------------------------------------------------------------------------------

    def source(self) -> CSource:
        """Return the whole source."""
        self.outer = {at: self.outside(f"a{i}", self.graph.nodes[at]) for i, at in enumerate(self._arguments)}
        self.outer |= {at: self.outside(f"o{i}", self.graph.nodes[at]) for i, at in enumerate(dict.fromkeys(self.graph.outputs))}
        for at in self._arguments:
            self.places[at] = self._turned_in(at) if self._is_turned(at) else self.outer[at]
        for at in constants_read(self.graph):
            self._constant_place(at)
        for at in self._kept:
            self._write(at)
            if at in self.graph.outputs and self.places[at] != self.outer[at]:
                self._copy_out(at)
        text = self._text()
        arguments = tuple(self.graph.nodes[at].value for at in self._arguments)
        return CSource(text, arguments, tuple(self._constants), len(self._kept))

    @staticmethod
    def outside(name: str, node: Node) -> Place:
        """Return the place of what the caller gives: rows one after another."""
        return Place(name, node.elements, strides(node.row), 1)

    def _text(self) -> str:
        nodes = self.graph.nodes
        inputs = [f"const {_C_TYPES[nodes[at].kind]} *restrict a{i}" for i, at in enumerate(self._arguments)]
        outputs = list(dict.fromkeys(self.graph.outputs))
        results = [f"{_C_TYPES[nodes[at].kind]} *restrict o{i}" for i, at in enumerate(outputs)]
        parameters = ", ".join([*inputs, *results])
        moved = [f"a{i} + first * {nodes[at].elements}" for i, at in enumerate(self._arguments)]
        moved += [f"o{i} + first * {nodes[at].elements}" for i, at in enumerate(outputs)]
        kinds = [_C_TYPES[nodes[one.node].kind] for one in self._constants]
        constants = [f"    const {kind} *restrict c{i} = constants[{i}];" for i, kind in enumerate(kinds)]
        behind = len(self._constants)
        header = Path(__file__).with_name("vector_math.h").read_text()
        clear = [f"memset(scratch + {start}, 0, {size} * sizeof(float));" for start, size in self.zeroed]
        return "\n".join([
            "#include <stdlib.h>", header, tiles.VECTORS, tiles.PUT, *self.tiles.values(), *self.tables,
            f"INLINE void block(const int64_t rows, const void *const *constants, float *restrict scratch, {parameters}) {{",
            *constants, *self._lines, "}", "",
            f"static int part(int64_t from, int64_t to, const void *const *constants, {parameters}) {{",
            f"    float *scratch = aligned_alloc(64, {max(64, -(-self._scratch // 16) * 64)});",
            "    if (!scratch) return 1;",
            *(f"    {line}" for line in clear),
            f"    for (int64_t first = from; first < to; first += {self.rows}) {{",
            f"        const int64_t rows = to - first < {self.rows} ? to - first : {self.rows};",
            f"        block(rows, constants, scratch, {', '.join(moved)});",
            "    }", "    free(scratch);", "    return 0;", "}", "",
            f"int run(int64_t n, int64_t threads, const void *const *constants, {parameters}) {{",
            *(f"    if (memcmp(constants[{behind + 2 * i}], constants[{behind + 2 * i + 1}], {size})) return {CHANGED};"
              for i, size in enumerate(self._watched)),
            f"    if (threads < 2 || n * {self._work()} < {_WORK_FOR_THREADS} || n < 2 * {self.rows})",
            f"        return part(0, n, constants, {self._passed()});",
            "    int failed = 0;",
            "    #pragma omp parallel for num_threads(threads) reduction(|:failed)",
            "    for (int64_t t = 0; t < threads; t++)",
            f"        failed |= part(n * t / threads, n * (t + 1) / threads, constants, {self._passed()});",
            "    return failed;", "}", "",
        ])  # fmt: skip

    def _passed(self) -> str:
        return ", ".join([f"a{i}" for i in range(len(self._arguments))] + [f"o{i}" for i in range(len(set(self.graph.outputs)))])

    def _work(self) -> int:
        return max(1, sum(work_of(self.graph, node) for node in self.graph.nodes))

    # --- places ------------------------------------------------------------------------------------------------------

    def constant(self, at: int, form: str) -> str:
        """Return the name of a constant in a form of its own (Packed)."""
        packed = Packed(at, form)
        if packed not in self._constants:
            self._constants.append(packed)
        return f"c{self._constants.index(packed)}"

    def _constant_place(self, at: int) -> None:
        """Constants that loops read, not the weights of layers, which are packed where they are used."""
        readers = [self.graph.nodes[user] for user in self.graph.users()[at]]
        if any(reader.varies and reader.op not in ("linear", "conv2d") for reader in readers):
            node = self.graph.nodes[at]
            self.places[at] = Place(self.constant(at, "plain"), 0, strides(node.row), 1)

    def take(self, floats: int) -> int:
        """Return where so much scratch memory begins."""
        start = self._scratch
        self._scratch += -(-floats // 16) * 16
        return start

    def place_for(self, at: int) -> Place:
        """Return the place of a value to be written down, made if it has none yet."""
        if at not in self.places:
            is_outer = at in self.outer and not self._is_turned(at)
            self.places[at] = self.outer[at] if is_outer else self._within(self.graph.nodes[at])
        return self.places[at]

    def _within(self, node: Node) -> Place:
        start = self.take(node.elements * self.rows)
        step, by_row = (self.rows, 1) if node.elements <= NARROW else (1, node.elements)
        return Place("scratch", by_row, strides(node.row, step), step, start)

    def _is_turned(self, at: int) -> bool:
        """Whether rows of few elements outside lie side by side within: loads with a step are no vectors."""
        node = self.graph.nodes[at]
        return 1 < node.elements <= NARROW and node.kind is not Kind.POSITION

    def _turned_in(self, at: int) -> Place:
        node, outer = self.graph.nodes[at], self.outer[at]
        place = self._within(node)
        self._copy_flat(node, place, outer)
        return place

    def _copy_flat(self, node: Node, to: Place, of: Place) -> None:
        self.say(1, f"for (int64_t r = 0; r < rows; r++) for (int64_t j = 0; j < {node.elements}; j++)",
                  f"    {to.name}[r * {to.by_row} + j * {to.uniform} + {to.start}] = "
                  f"{of.name}[r * {of.by_row} + j * {of.uniform} + {of.start}];")  # fmt: skip

    def found(self, at: int) -> Place | None:
        """Return where a value lies, through views of what has a place; None for one that is part of an expression."""
        if at in self.places:
            return self.places[at]
        node = self.graph.nodes[at]
        if node.op not in ("reshape", "narrow") or not node.varies:
            return None
        below = self.found(node.args[0])
        if below is None or below.uniform is None or node.op == "narrow" and len(node.row) != 1:
            return None
        start = below.start + (node.value * below.uniform if node.op == "narrow" else 0)
        return Place(below.name, below.by_row, strides(node.row, below.uniform), below.uniform, start)

    # --- expressions -------------------------------------------------------------------------------------------------

    def value(self, body: Body, at: int, index: Index) -> str:
        """Return the name or number of a value's element at an index of its row."""
        node = self.graph.nodes[at]
        if is_number(node):
            return _literal(node.value)
        key = (at, index)
        if key not in body.names:
            place = self.found(at)
            expression = place.element(index) if place else self._expression(body, node, index)
            body.names[key] = body.named(node.kind, expression)
        return body.names[key]

    def _expression(self, body: Body, node: Node, index: Index) -> str:
        if node.op == "reshape":
            return self.value(body, node.args[0], self._through_reshape(node, index))
        if node.op == "narrow":
            return self.value(body, node.args[0], (*index[:-1], f"{index[-1]} + {node.value}"))
        if node.op not in ELEMENTWISE:
            raise NotFusable(f"{node.op} within an expression")
        operands = [self.value(body, arg, self._spread(self.graph.nodes[arg].row, node.row, index)) for arg in node.args]
        return ELEMENTWISE[node.op].c.format(*operands)

    @staticmethod
    def _spread(row: tuple[int, ...], wide: tuple[int, ...], index: Index) -> Index:
        """Return the index in a value that is broadcast: its dimensions of one have but one place."""
        return tuple("0" if size == 1 else i for size, i in zip(row, index[len(wide) - len(row) :], strict=True))

    def _through_reshape(self, node: Node, index: Index) -> Index:
        below = self.graph.nodes[node.args[0]].row
        if only_ones_differ(below, node.row):
            left = iter([i for i, size in zip(index, node.row, strict=True) if size != 1])
            return tuple("0" if size == 1 else next(left) for size in below)
        flat = " + ".join(f"({i}) * {s}" for i, s in zip(index, strides(node.row), strict=True)) or "0"
        return tuple(f"(({flat}) / {s} % {size})" for s, size in zip(strides(below), below, strict=True))

    # --- loops -------------------------------------------------------------------------------------------------------

    def say(self, depth: int, *lines: str) -> None:
        """Add lines to the block."""
        self._lines += ["    " * depth + line for line in lines]

    def _write(self, at: int) -> None:
        node = self.graph.nodes[at]
        self.say(1, f"/* {node.op} {list(node.row)} */")
        if node.op == "linear":
            write_linear(self, at, node)
        elif node.op == "conv2d":
            write_convolution(self, at, node)
        elif node.op in REDUCTIONS:
            write_reduction(self, at, node)
        else:
            self._write_elements(at, node)

    def _write_elements(self, at: int, node: Node) -> None:
        place = self.place_for(at)
        del self.places[at]  # while it is worked out it is no value to be read
        if node.elements <= NARROW:
            body = Body()
            for index in indices_of(node.row):
                body.lines.append(f"{place.element(index)} = {self.value(body, at, index)};")
            self.over_rows(body)
        else:
            self._over_elements(at, node, place)
        self.places[at] = place

    def over_rows(self, body: Body) -> None:
        """Say a body for every row, rows in vectors."""
        self.say(1, "#pragma omp simd", "for (int64_t r = 0; r < rows; r++) {")
        self.say(2, *body.lines)
        self.say(1, "}")

    def _over_elements(self, at: int, node: Node, place: Place) -> None:
        flat = self._is_flat(at, node.row) and place.uniform is not None
        body = Body()
        if flat:
            sizes, index = (node.elements,), ("j0",)
            value = self._flat_value(body, at)
            target = place.flat("j0")
        else:
            sizes, index = node.row, tuple(f"j{d}" for d in range(len(node.row)))
            value, target = self.value(body, at, index), place.element(index)
        self.say(1, "for (int64_t r = 0; r < rows; r++) {")
        for d, size in enumerate(sizes):
            if d == len(sizes) - 1:
                self.say(2 + d, "#pragma omp simd")
            self.say(2 + d, f"for (int64_t {index[d]} = 0; {index[d]} < {size}; {index[d]}++) {{")
        self.say(2 + len(sizes), *body.lines, f"{target} = {value};")
        for d in range(len(sizes), -1, -1):
            self.say(1 + d, "}")

    def _is_flat(self, at: int, row: tuple[int, ...]) -> bool:
        """Whether a value of several dimensions is made of values of its own shape and single numbers alone."""
        node = self.graph.nodes[at]
        if len(row) < 2 or node.row != row:
            return len(row) >= 2 and node.elements == 1
        place = self.found(at)
        if place is not None:
            return place.uniform is not None
        return node.op in ELEMENTWISE and all(self._is_flat(arg, row) for arg in node.args)

    def _flat_value(self, body: Body, at: int) -> str:
        node = self.graph.nodes[at]
        if node.elements == 1:
            return self.value(body, at, ("0",) * len(node.row))
        key = (at, ("j0",))
        if key not in body.names:
            place = self.found(at)
            if place is not None:
                expression = place.flat("j0")
            else:
                expression = ELEMENTWISE[node.op].c.format(*(self._flat_value(body, arg) for arg in node.args))
            body.names[key] = body.named(node.kind, expression)
        return body.names[key]

    def _copy_out(self, at: int) -> None:
        node, place, outer = self.graph.nodes[at], self.places[at], self.outer[at]
        if place.uniform is not None:
            self._copy_flat(node, outer, place)
            return
        index = ("c", "y", "x")  # a convolution's lines have garbage behind them
        self.say(1, f"for (int64_t r = 0; r < rows; r++) for (int64_t c = 0; c < {node.row[0]}; c++)",
                  f"    for (int64_t y = 0; y < {node.row[1]}; y++) for (int64_t x = 0; x < {node.row[2]}; x++)",
                  f"        {outer.element(index)} = {place.element(index)};")  # fmt: skip
