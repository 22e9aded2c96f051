"""Reductions over a row's last dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inference_core.fusion.cpu.body import Body
from inference_core.fusion.cpu.places import NARROW, Index, indices_of
from inference_core.fusion.ir import Kind, Node
from inference_core.fusion.operations import POSITIONS, REDUCTIONS

if TYPE_CHECKING:
    from inference_core.fusion.cpu.emitter import Emitter


def write_reduction(of: Emitter, at: int, node: Node) -> None:
    """Write the loop of a reduction: rows in vectors where they are narrow, elements in vectors where they are wide."""
    place, operand = of.place_for(at), node.args[0]
    size = of.graph.nodes[operand].row[-1]
    if of.graph.nodes[operand].elements <= NARROW:
        body = Body()
        for index in indices_of(node.row):
            values = [of.value(body, operand, (*index, str(j))) for j in range(size)]
            body.lines.append(f"{place.element(index)} = {_gathered(body, node, values)};")
        of.over_rows(body)
        return
    index = tuple(f"j{d}" for d in range(len(node.row)))
    of.say(1, "for (int64_t r = 0; r < rows; r++) {")
    for d, length in enumerate(node.row):
        of.say(2 + d, f"for (int64_t j{d} = 0; j{d} < {length}; j{d}++) {{")
    _along(of, 2 + len(node.row), node, operand, index, size, place.element(index))
    for d in range(len(node.row), -1, -1):
        of.say(1 + d, "}")


def _gathered(body: Body, node: Node, values: list[str]) -> str:
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


def _along(of: Emitter, depth: int, node: Node, operand: int, index: Index, size: int, target: str) -> None:
    body = Body()
    value = of.value(body, operand, (*index, "j"))
    loop = f"for (int64_t j = 0; j < {size}; j++) {{"
    if node.op in POSITIONS:
        of.say(depth, "float best = 0; int64_t position = 0;", loop)
        of.say(depth + 1, *body.lines, f"if (j == 0 || {_better(node.op, value, 'best')}) {{ best = {value}; position = j; }}")
        of.say(depth, "}", f"{target} = position;")
        return
    reduction = REDUCTIONS[node.op]
    extreme = reduction.simd in ("max", "min")
    # In a vector the comparison would lose NaN: it is remembered aside.
    step = f"found = {value} {'>' if reduction.simd == 'max' else '<'} found ? {value} : found; missing |= {value} != {value};"
    step = step if extreme else f"found = {reduction.c.format('found', value)};"
    clause = f"#pragma omp simd reduction({reduction.simd}:found){' reduction(|:missing)' if extreme else ''}"
    of.say(depth, f"float found = {reduction.start};", *(["int missing = 0;"] if extreme else []), clause, loop)
    of.say(depth + 1, *body.lines, step)
    of.say(depth, "}", f"{target} = {'missing ? NAN : found' if extreme else 'found'};")


def _better(op: str, value: str, best: str) -> str:
    """The first of the smallest or largest; NaN before all, as in PyTorch."""
    return f"(({value} {'>' if op == 'argmax' else '<'} {best}) | (({value} != {value}) & ({best} == {best})))"
