"""Golden rows: a few rows that lie on a program's cuts, with the reference's answers, stored beside the program.

Whatever is going to serve, another kernel, device, compiler or version, must give these answers bit for bit before its
first decision.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from inference_core.errors import ArtifactRefused, ProgramError
from inference_core.runtime import Ladder
from kernels.score_rows import ScoredRows, ScoreTables, reference
from kernels.tables import CutTable, RuleBits

GOLDEN_ROWS = 64
# So many of them miss nothing.
_COMPLETE_ROWS = 16
_KINDS = {
    "margin": np.float32, "hit": np.uint64, "insufficient": np.uint64, "error": np.uint64,
    "top_features": np.int32, "top_contributions": np.float32,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class GoldenRows:
    """Attributes:
    x: [n, F] float32.
    memberships: [n, L] bool.
    answers: what the reference says of them, with `top` contributions a row.
    """

    x: np.ndarray
    memberships: np.ndarray
    answers: ScoredRows

    @property
    def top(self) -> int:
        return self.answers.top_features.shape[1]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON, exact to the last bit; NaN is null, infinities are "inf" and "-inf".

        Columns of zeros are left out.
        """
        answers = {name: _to_json(of) for name, of in _fields(self.answers)}
        columns = np.flatnonzero((self.x != 0).any(axis=0))
        return {
            "columns": columns.tolist(),
            "x": _to_json(self.x[:, columns]),
            "memberships": self.memberships.astype(int).tolist(),
            "answers": answers,
        }

    @classmethod
    def from_json(cls, of: dict[str, Any], tables: ScoreTables) -> GoldenRows:
        """Return the rows that to_json gave.

        Raises:
            ProgramError: they are not rows of these tables.
        """
        given, columns, memberships = _from_json(of["x"], np.float32), of["columns"], np.array(of["memberships"], bool)
        stored = {name: _from_json(of["answers"][name], kind) for name, kind in _KINDS.items()}
        rows, words, features = len(given), tables.rules.words, tables.cuts.features
        top = stored["top_features"].shape[-1]
        shapes = {"margin": (rows,), **dict.fromkeys(("hit", "insufficient", "error"), (rows, words))}
        shapes |= dict.fromkeys(("top_features", "top_contributions"), (rows, top))
        if not 1 <= rows <= GOLDEN_ROWS or given.shape != (rows, len(columns)) or not set(columns) <= set(range(features)):
            raise ProgramError(f"golden rows must be 1 to {GOLDEN_ROWS} rows of {features} features; train again")
        if memberships.shape != (rows, tables.cuts.lists) or any(stored[name].shape != shape for name, shape in shapes.items()):
            raise ProgramError("the golden answers have other shapes than the program's; train again")
        x = np.zeros((rows, features), np.float32)
        x[:, columns] = given
        bits = RuleBits(stored["hit"], stored["insufficient"], stored["error"])
        answers = ScoredRows.of(stored["margin"], bits, stored["top_features"], stored["top_contributions"])
        return cls(x, memberships, answers)


def golden_rows(tables: ScoreTables, top: int) -> GoldenRows:
    """Return the golden rows of these tables, the same ones every time.

    Each value lies on a cut of its feature, or on the next float32 below or above, or is missing or infinite; a few rows
    are nothing else than missing, infinite or zero, and some rows are in no list, in all or in one. Features that the
    tables do not read are zero.
    """
    cuts = tables.cuts
    uniform = np.array([np.nan, np.inf, -np.inf, 0.0], np.float32)
    mixed = np.arange(GOLDEN_ROWS - len(uniform))
    x = np.zeros((GOLDEN_ROWS, cuts.features), np.float32)
    read = np.concatenate([cuts.source, cuts.derived["a"], cuts.derived["b"]])
    for feature in np.unique(read[(read >= 0) & (read < cuts.features)]).tolist():
        of = _values_of(cuts, feature)
        x[: len(uniform), feature] = uniform
        # In another order for each column, so that neighbours do not move through their values together.
        order = np.random.default_rng(feature).permutation(len(of))
        x[len(uniform) :, feature] = of[order[mixed % len(of)]]
        x[-_COMPLETE_ROWS:, feature] = np.where(np.isnan(x[-_COMPLETE_ROWS:, feature]), of[0], x[-_COMPLETE_ROWS:, feature])
    memberships = np.zeros((GOLDEN_ROWS, cuts.lists), bool)
    memberships[1::4] = True
    if cuts.lists:
        one = np.arange(2, GOLDEN_ROWS, 4)
        memberships[one, (one // 4) % cuts.lists] = True
    return GoldenRows(x, memberships, reference.score_rows(tables, x, memberships, top))


def check_golden(golden: GoldenRows, ladder: Ladder) -> None:
    """Run the rows on every variant and on every static program of the executor that is going to serve.

    Raises:
        ArtifactRefused: an answer differs from the stored one; names golden.json, the row and the field.
    """
    for variant, rows, scored in _answers(golden, ladder):
        if difference := _first_difference(golden.answers, rows, scored):
            raise ArtifactRefused(
                f"golden.json: {variant} disagrees with the reference in {difference}; "
                "this build must not serve: install the version that trained the program, or train again with this one"
            )


def _answers(golden: GoldenRows, ladder: Ladder) -> Iterator[tuple[str, np.ndarray, ScoredRows]]:
    """Yield (variant, numbers of the rows, its answers)."""
    everything = np.arange(len(golden.x))
    complete = np.flatnonzero(~np.isnan(golden.x).any(axis=1))
    in_no_list = ~golden.memberships.any(axis=1)
    for variant in ladder.dynamic_variants():
        yield variant.name, everything, variant.run(golden.x, golden.memberships, golden.top)
    for name, shape, run in ladder.programs():
        if shape.top != golden.top:
            continue  # made for somebody who asked for another number of contributions
        rows = complete if shape.complete else everything
        if not shape.lists:
            rows = rows[in_no_list[rows]]
        x, lists = golden.x[rows], golden.memberships[rows] if shape.lists else None
        parts = [slice(first, first + shape.rows) for first in range(0, len(rows), shape.rows)]
        if parts:
            answers = [run(x[part], None if lists is None else lists[part]) for part in parts]
            yield f"{name} for {shape.rows} rows", rows, _joined(answers)


def _joined(answers: list[ScoredRows]) -> ScoredRows:
    """Return the answers to the parts of a batch as one."""
    parts = [dict(_fields(part)) for part in answers]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    bits = RuleBits(whole["hit"], whole["insufficient"], whole["error"])
    return ScoredRows.of(whole["margin"], bits, whole["top_features"], whole["top_contributions"])


def _first_difference(answers: ScoredRows, rows: np.ndarray, scored: ScoredRows) -> str | None:
    for (name, stored), (_, given) in zip(_fields(answers), _fields(scored), strict=True):
        expected = stored[rows]
        if expected.tobytes() == given.tobytes():
            continue
        same = expected.view(f"u{expected.itemsize}") == given.view(f"u{given.itemsize}")
        if expected.dtype.kind == "f":
            same |= np.isnan(expected) & np.isnan(given)  # whatever the bits of the NaN
        if not same.all():
            at = tuple(np.argwhere(~same)[0])
            where = f"row {rows[at[0]]}, {name}" + (f"[{at[1]}]" if len(at) > 1 else "")
            return f"{where}: {given[at]} instead of {expected[at]}"
    return None


def _fields(of: ScoredRows) -> Iterator[tuple[str, np.ndarray]]:
    bits = of.bits
    yield "margin", of.margin
    yield from (("hit", bits.hit), ("insufficient", bits.insufficient), ("error", bits.error))
    yield "top_features", of.top_features
    yield "top_contributions", of.top_contributions


def _values_of(cuts: CutTable, feature: int) -> np.ndarray:
    columns = np.flatnonzero(cuts.source == feature)
    at = np.unique(
        np.concatenate([cuts.cuts[cuts.offsets[k] : cuts.offsets[k + 1]] for k in columns] or [np.zeros(1, np.float32)])
    )
    # At most 16 of them, evenly over all: with their neighbours that is what the rows can hold.
    at = at[np.unique(np.linspace(0, len(at) - 1, min(len(at), 16)).astype(int))] if len(at) else np.zeros(1, np.float32)
    beside = [np.nextafter(at, np.float32(-np.inf)), np.nextafter(at, np.float32(np.inf))]
    return np.concatenate([at, *beside, np.array([np.nan, np.inf, -np.inf], np.float32)]).astype(np.float32)


def _to_json(array: np.ndarray) -> list:
    if array.dtype.kind != "f":
        return array.tolist()
    return [_plain(value) if not isinstance(value, list) else [_plain(v) for v in value] for value in array.tolist()]


def _plain(value: float) -> float | str | None:
    if value != value:
        return None
    return str(value) if value in (np.inf, -np.inf) else value


def _from_json(of: list, kind: type) -> np.ndarray:
    """Return the array; float(None) would fail, and float32 of a float64 that came from one is exact."""
    if kind is np.float32:
        of = [[_number(v) for v in value] if isinstance(value, list) else _number(value) for value in of]
    return np.array(of, kind)


def _number(value: float | str | None) -> float:
    return float("nan") if value is None else float(value)
