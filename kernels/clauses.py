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
CLAUSE = np.dtype([("rule", "<i4"), ("first", "<i4"), ("less", "<i4"), ("other", "<i4")])
LESS, NOT_LESS, MISSING_VALUE, PRESENT, AT_LEAST, NOT_AT_LEAST = range(6)

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
    clauses: [C] CLAUSE in order of output and half word of rules; in each half word those of LESS alone come first.
    runs: [3, W, 2, 2] int32, for each output and half word how many clauses of LESS alone there are, and how many others.
    literals: [N] LITERAL, of the kinds before AT_LEAST.
    turned: columns of [x, derived, lists] whose copies with the sign turned follow them.
    """

    clauses: np.ndarray
    runs: np.ndarray
    literals: np.ndarray
    turned: list[int]


class _TooMany(Exception):
    pass


def clauses_of(cuts: CutTable, rules: RuleTable) -> Clauses | None:
    """Return the rules' clauses, or None where an output has more than MAX_CLAUSES."""
    try:
        registers = _run(cuts, rules)
    except _TooMany:
        return None
    turned = _Turned(cuts.features + len(cuts.derived) + cuts.lists)
    found = []
    for output, of in enumerate((rules.hit, rules.insufficient, rules.error)):
        for rule, register in enumerate(of):
            for clause in registers[register] if register >= 0 else ():
                tests = sorted((turned.plain(literal) for literal in clause), key=lambda literal: literal[2])
                less = sum(literal[2] == LESS for literal in tests)
                found.append((output, rule, less, len(tests) - less, tests))
    # The loop over a clause's literals is predicted well when clauses of one length follow each other.
    found.sort(key=lambda of: (of[0], of[1] // 32, _is_rare(*of[2:4]), of[2], of[3]))
    runs = np.zeros((3, rules.words, 2, 2), np.int32)
    clauses, literals = [], []
    for output, rule, less, other, tests in found:
        runs[output, rule // 64, rule // 32 % 2, int(_is_rare(less, other))] += 1
        clauses.append((rule, len(literals), less, other))
        literals += tests
    return Clauses(np.array(clauses, CLAUSE), runs, np.array(literals, LITERAL), turned.columns)


def _is_rare(less: int, other: int) -> bool:
    """Return whether a clause is not a row of at least one LESS and nothing else, which is what the quick loop takes."""
    return other > 0 or less == 0


class _Turned:
    """The columns that are also needed with the sign turned: x >= cut is -x < the float after -cut."""

    def __init__(self, width: int) -> None:
        self.width, self.columns = width, []

    def plain(self, literal: _Literal) -> _Literal:
        """Return the literal as one of the kinds that the kernel knows."""
        column, cut, kind = literal
        if kind not in (AT_LEAST, NOT_AT_LEAST):
            return literal
        if cut == -np.inf:  # no float comes after +inf
            return column, 0.0, PRESENT if kind == AT_LEAST else MISSING_VALUE
        if column not in self.columns:
            self.columns.append(column)
        after = float(np.nextafter(np.float32(-cut), np.float32(np.inf)))
        return self.width + self.columns.index(column), after, LESS if kind == AT_LEAST else NOT_LESS


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
