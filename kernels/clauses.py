"""Rules as clauses on numbers: for each output of a rule an or of ands of comparisons (a disjunctive normal form).

A program of rules alone would be slower if it binned its rows first. Rules whose normal form is too large keep to bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.tables import MISSING, Combine, CutTable, RuleTable, Source

MAX_CLAUSES = 16
"""Clauses that one output of a rule may have."""

LITERAL = np.dtype([("column", "<i4"), ("cut", "<f4"), ("kind", "<i4")])
CLAUSE = np.dtype([("rule", "<i4"), ("first", "<i4"), ("less", "<i4"), ("at_least", "<i4"), ("other", "<i4")])
LESS, AT_LEAST, NOT_LESS, NOT_AT_LEAST, MISSING_VALUE, PRESENT = range(6)

_OPPOSITE = {
    LESS: NOT_LESS, NOT_LESS: LESS, AT_LEAST: NOT_AT_LEAST, NOT_AT_LEAST: AT_LEAST, MISSING_VALUE: PRESENT,
    PRESENT: MISSING_VALUE,
}  # fmt: skip

# A literal is (column of [x, derived, lists], cut, kind). A clause is a set of literals, all of them true; a form is a set of
# clauses, one of them true: the empty form is false, a form with an empty clause is true.
_Literal = tuple[int, float, int]
_Form = frozenset[frozenset[_Literal]]
_FALSE: _Form = frozenset()
_TRUE: _Form = frozenset([frozenset()])


@dataclass(frozen=True)
class Clauses:
    """Attributes:
    clauses: [C] CLAUSE in order of output, half word of rules, and class: those that begin with LESS, those that begin with
        AT_LEAST, those that have other literals or none.
    runs: [3, W, 2, 3] int32, for each output and half word how many clauses of each class there are.
    literals: [N] LITERAL, in the order of their kinds within a clause.
    """

    clauses: np.ndarray
    runs: np.ndarray
    literals: np.ndarray


class _TooMany(Exception):
    pass


def clauses_of(cuts: CutTable, rules: RuleTable) -> Clauses | None:
    """Return the rules' clauses, or None where an output has more than MAX_CLAUSES."""
    try:
        registers = _run(cuts, rules)
    except _TooMany:
        return None
    found = []
    for output, of in enumerate((rules.hit, rules.insufficient, rules.error)):
        for rule, register in enumerate(of):
            for clause in registers[register] if register >= 0 else ():
                tests = sorted(clause, key=lambda literal: literal[2])
                kinds = [literal[2] for literal in tests]
                counts = (kinds.count(LESS), kinds.count(AT_LEAST), sum(kind > AT_LEAST for kind in kinds))
                found.append((output, rule, _class(*counts), counts, tests))
    # The loops over a clause's literals are predicted well when clauses of one shape follow each other.
    found.sort(key=lambda of: (of[0], of[1] // 32, of[2], of[3]))
    runs = np.zeros((3, rules.words, 2, 3), np.int32)
    clauses, literals = [], []
    for output, rule, kind, counts, tests in found:
        runs[output, rule // 64, rule // 32 % 2, kind] += 1
        clauses.append((rule, len(literals), *counts))
        literals += tests
    return Clauses(np.array(clauses, CLAUSE), runs, np.array(literals, LITERAL))


def _class(less: int, at_least: int, other: int) -> int:
    if other or not less + at_least:
        return 2
    return 0 if less else 1


def _run(cuts: CutTable, rules: RuleTable) -> dict[int, _Form]:
    """Return what each register is once the program has run, as a form."""
    registers: dict[int, _Form] = {}
    outputs = {int(r) for of in (rules.hit, rules.insufficient, rules.error) for r in of if r >= 0}
    accumulator = _FALSE
    final: dict[int, _Form] = {}
    for step in rules.steps:
        if step["source"] == Source.PREDICATE:
            operand = _predicate(cuts, int(step["operand"]), int(step["low"]), int(step["width"]))
        else:
            operand = registers.get(int(step["operand"]), _FALSE) if step["source"] == Source.REGISTER else _TRUE
        if step["negate"]:
            operand = _not(operand)
        if step["op"] == Combine.SET:
            accumulator = operand
        else:
            accumulator = _and(accumulator, operand) if step["op"] == Combine.AND else _or(accumulator, operand)
        if step["store"] >= 0:
            registers[int(step["store"])] = accumulator
    for register in outputs:
        final[register] = registers.get(register, _FALSE)
    return final


def _predicate(cuts: CutTable, column: int, low: int, width: int) -> _Form:
    """Return the form of (bin - low) mod 256 < width."""
    if column < cuts.columns:
        of, own = int(cuts.source[column]), cuts.cuts[cuts.offsets[column] : cuts.offsets[column + 1]]
    else:
        of, own = cuts.features + len(cuts.derived) + column - cuts.columns, np.array([0.5], np.float32)
    holds = (np.arange(256) - low) % 256 < width
    bins, missing = holds[: len(own) + 1], bool(holds[MISSING])
    if missing:
        return _not(_intervals(of, own, ~bins))
    return _intervals(of, own, bins)


def _intervals(column: int, own: np.ndarray, bins: np.ndarray) -> _Form:
    """Return the form of: the value is there, and its bin is one of those."""
    edge = np.flatnonzero(np.diff(np.concatenate([[False], bins, [False]]).astype(np.int8)))
    form = _FALSE
    for start, end in zip(edge[::2], edge[1::2], strict=True):
        clause = []
        if start > 0:
            clause.append((column, float(own[start - 1]), AT_LEAST))
        if end <= len(own):
            clause.append((column, float(own[end - 1]), LESS))
        form = _or(form, frozenset([frozenset(clause or [(column, 0.0, PRESENT)])]))
    return form


def _bounded(form: set) -> _Form:
    # A clause that another one implies adds nothing.
    kept = frozenset(clause for clause in form if not any(other < clause for other in form))
    if len(kept) > MAX_CLAUSES:
        raise _TooMany
    return kept


def _or(a: _Form, b: _Form) -> _Form:
    return _bounded(a | b)


def _and(a: _Form, b: _Form) -> _Form:
    return _bounded({x | y for x in a for y in b})


def _not(form: _Form) -> _Form:
    result = _TRUE
    for clause in form:
        result = _and(result, frozenset(frozenset([(column, cut, _OPPOSITE[kind])]) for column, cut, kind in clause))
    return result
