"""Tables and the last line of `make bench-rules`, from its JSON alone."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.rules.fused import FUSED
from tests.benchmarks.rules.generated import GENERATED_C, PYTHON
from tests.benchmarks.rules.ours import OURS
from tests.benchmarks.side_by_side.environment import noise_note
from tests.benchmarks.side_by_side.tables import environment_lines, how_timed, lineup_notes, millions, number, table

HEADLINE_RULES = 50


def markdown(document: dict[str, Any]) -> str:
    """Return all tables."""
    parts = [
        environment_lines(document["environment"]),
        noise_note(document["other_cores"]),
        f"{how_timed(document['clock_us'])} The ceiling is no peer: its rules are compiled into the code by gcc.",
        _rules_table(document, "one_event"),
        _rules_table(document, "batch"),
    ]
    if document["fused"]:
        parts.append(_fused_table(document["fused"]))
    notes = [f"{case['rules']} rules:\n\n{text}" for case in document["cases"] if (text := lineup_notes(case))]
    if document["fused"] and (text := lineup_notes(document["fused"])):
        notes.append(f"Rules and forest:\n\n{text}")
    return "\n\n".join([*parts, *notes, _losses(document)])


def summary(document: dict[str, Any]) -> dict[str, Any]:
    """Return the last line; None where a figure was not measured."""
    headline = next((c for c in document["cases"] if c["rules"] == HEADLINE_RULES), {"batch": [], "one_event": []})
    fused = document["fused"] or {"one_event": []}

    def rate(engine: str, threads: int, figure: str = "median_rows_per_s"):
        return next((c[figure] for c in headline["batch"] if (c["engine"], c["threads"]) == (engine, threads)), None)

    def p50(cells: list[dict[str, Any]], engine: str):
        return next((c["p50_us"] for c in cells if c["engine"] == engine), None)

    return {
        "rules_rows_per_s_1t": rate(OURS, 1),
        "polars_rows_per_s": rate("polars", 2),
        "fused_one_row_us": p50(fused["one_event"], FUSED),
        "generated_c_rows_per_s": rate(GENERATED_C, 1),
        "rules_rows_per_s_1t_best": rate(OURS, 1, "best_rows_per_s"),
        "polars_rows_per_s_best": rate("polars", 2, "best_rows_per_s"),
        "rules_one_event_us": p50(headline["one_event"], OURS),
        "python_one_event_us": p50(headline["one_event"], PYTHON),
        "onnxruntime_and_python_us": p50(fused["one_event"], f"ONNX Runtime + {PYTHON}"),
        "all_agree": all_agree(document),
        "losses": len(losses(document)),
        "other_cores": document["other_cores"],
    }


def all_agree(document: dict[str, Any]) -> bool:
    """Whether every engine that ran gave the same hits, and ours the same margins as XGBoost."""
    fused = document["fused"]
    wrong = [f for f in fused["failed"] if f["stage"] in ("hits", "margins", "agreement")] if fused else []
    return not wrong and all(all(case["agrees"].values()) for case in document["cases"])


def losses(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every cell in which a peer was faster than ours: p50 of one event, rows/s of a batch on as many threads."""
    found = []
    for case in document["cases"]:
        ours = {c.get("threads"): c for c in (*case["one_event"], *case["batch"]) if c["engine"] == OURS}
        for cell in (*case["one_event"], *case["batch"]):
            threads = cell.get("threads")
            if cell["engine"] in (OURS, GENERATED_C) or threads not in ours:
                continue
            key, unit = ("p50_us", "us") if threads is None else ("median_rows_per_s", "rows/s")
            peer, own = cell[key], ours[threads][key]
            if peer < own if threads is None else peer > own:
                where = f"{case['rules']} rules, " + ("one event" if threads is None else f"batch, {threads} threads")
                found.append({"where": where, "engine": cell["engine"], "peer": peer, "ours": own, "unit": unit})
    fused = {c["engine"]: c["p50_us"] for c in (document["fused"] or {"one_event": []})["one_event"]}
    for name, peer in fused.items():
        if FUSED in fused and peer < fused[FUSED]:
            figures = {"peer": peer, "ours": fused[FUSED], "unit": "us"}
            found.append({"where": "rules and forest, one event", "engine": name, **figures})
    return found


def _rules_table(document: dict[str, Any], part: str) -> str:
    cases = document["cases"]
    cells: dict[tuple[str, int], dict[int, dict[str, Any]]] = {}
    for case in cases:
        for cell in case[part]:
            cells.setdefault((cell["engine"], cell.get("threads", 1)), {})[case["rules"]] = cell
    rows = []
    for (engine, threads), of in cells.items():
        last = next(iter(of.values()))
        figures = [_figure(of.get(case["rules"])) for case in cases]
        timed = [] if part == "one_event" else [str(threads), f"{last['rows_timed']:,}"]
        rows.append([engine, *timed, *figures, last["setting"]])
    counts = [f"{case['rules']} rules" for case in cases]
    if part == "one_event":
        return table(("one event, p50 / p99 us", *counts, "setting"), rows)
    return table(("batch, M rows/s", "threads", "rows timed", *counts, "setting"), rows)


def _figure(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return "-"
    if "p50_us" in cell:
        return f"{number(cell['p50_us'])} / {number(cell['p99_us'])}"
    return f"{millions(cell['median_rows_per_s'])} ({millions(cell['best_rows_per_s'])})"


def _fused_table(fused: dict[str, Any]) -> str:
    reasons = {e["name"]: "yes" if e.get("reasons") else "no" for e in fused["engines"]}
    figures = ("p50_us", "best_block_us", "p99_us", "p999_us")
    rows = [
        [c["engine"], *(number(c[key]) for key in figures), reasons[c["engine"]], c["setting"]] for c in fused["one_event"]
    ]
    title = f"one event, {fused['rules']} rules + forest {fused['forest']}"
    return table((title, "p50 us", "quickest block us", "p99 us", "p99.9 us", "gives reasons", "setting"), rows)


def _losses(document: dict[str, Any]) -> str:
    found = losses(document)
    if not all(any(c["engine"] == OURS for c in case["one_event"]) for case in document["cases"]):
        return "Ours was not measured on every set of rules: see what failed."
    if not found:
        return "Losses: none; no peer was faster than ours in any cell."
    rows = [[f["where"], f["engine"], f"{number(f['peer'])} {f['unit']}", f"{number(f['ours'])} {f['unit']}"] for f in found]
    return "Losses: a peer was faster than ours here.\n\n" + table(("where", "peer", "its figure", "ours"), rows)
