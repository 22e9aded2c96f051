"""Markdown tables from the JSON of a benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows])


def number(value: float | None, unit: str = "") -> str:
    """Return a figure with three digits that count, "-" for none."""
    if value is None:
        return "-"
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return text + unit


def millions(value: float | None) -> str:
    """Return rows a second in millions."""
    return "-" if value is None else f"{value / 1e6:.3f}" if value < 1e7 else f"{value / 1e6:.1f}"


def environment_lines(stamp: dict[str, Any]) -> str:
    """Return the environment's stamp as a table."""
    facts = {name: value for name, value in stamp.items() if name != "packages"}
    facts["packages"] = ", ".join(f"{name} {version}" for name, version in stamp["packages"].items())
    return table(("", ""), [(name, ", ".join(v) if isinstance(v, list) else str(v)) for name, v in facts.items()])


def lineup_notes(lineup: dict[str, Any]) -> str:
    """Return a line for each engine that failed or was left out."""
    lines = [f"- FAILED: {f['name']} ({f['stage']}): {_cell(f['error'])}" for f in lineup["failed"]]
    return "\n".join(lines + [f"- left out: {name}: {why}" for name, why in lineup["left_out"].items()])


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def how_timed(clock_us: float) -> str:
    """Return what a reader must know of the figures."""
    return (
        f"An empty call takes {clock_us} us here and is part of every latency. Engines take turns, in blocks of 500 calls; "
        "of each, the fastest of its settings in a trial. One row: the median of all calls, and of the quickest block, as "
        "this machine's speed drifts. Batches: median rows/s of the rounds, in millions, best in brackets."
    )
