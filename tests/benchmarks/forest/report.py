"""Tables and the last line of `make bench-forest`, from its JSON alone."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.forest.ours import OURS, OURS_WITH_CONTRIBUTIONS
from tests.benchmarks.side_by_side.environment import noise_note
from tests.benchmarks.side_by_side.tables import environment_lines, how_timed, lineup_notes, millions, number, table

HEADLINE_MISSING = 0.05
LARGE_BATCH = 100_000


def markdown(document: dict[str, Any]) -> str:
    """Return all tables."""
    parts = [environment_lines(document["environment"]), noise_note(document["other_cores"]), _how(document)]
    for case in document["cases"]:
        name = f"{case['trees']} trees x depth {case['depth']} x {case['features']} features"
        parts.append(f"**{name}** ({case['nodes']:,} nodes)")
        parts += [part for part in (_one_row_table(case), _batch_table(case), lineup_notes(case)) if part]
    parts.append(_losses(document))
    return "\n\n".join(parts)


def summary(document: dict[str, Any]) -> dict[str, Any]:
    """Return the last line; None where a figure was not measured."""
    headline = document["cases"][0]

    def batch(engine: str, figure: str = "median_rows_per_s"):
        cells = [c for c in headline["batch"] if c["engine"] == engine and c["threads"] == 2 and c["missing"] == 0.0]
        return max(cells, key=lambda c: c["rows"])[figure] if cells else None

    differences = [d for case in document["cases"] for name, d in case["max_margin_diff"].items() if name.startswith(OURS)]
    return {
        "one_row_us": _p50(headline, OURS),
        "batch_rows_per_s_2t": batch(OURS),
        "daal4py_batch_rows_per_s_2t": batch("daal4py"),
        "xgboost_batch_rows_per_s_2t": batch("XGBoost"),
        "onnxruntime_one_row_us": _p50(headline, "ONNX Runtime"),
        "max_margin_diff": max(differences, default=None),
        "batch_rows_per_s_2t_best": batch(OURS, "best_rows_per_s"),
        "daal4py_batch_rows_per_s_2t_best": batch("daal4py", "best_rows_per_s"),
        "daal4py_one_row_us": _p50(headline, "daal4py"),
        "one_row_contributions_us": _p50(headline, OURS_WITH_CONTRIBUTIONS),
        "peers_failed": sorted({f["name"] for case in document["cases"] for f in case["failed"]}),
        "losses": len(losses(document)),
        "other_cores": document["other_cores"],
    }


def losses(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every cell in which a peer was faster than ours (trees only): p50 of one row, median rows/s of a batch."""
    found = []
    for case in document["cases"]:
        shape = f"{case['trees']} x {case['depth']} x {case['features']}"
        for cell in case["one_row"]:
            ours = _cell(case["one_row"], missing=cell["missing"])
            if ours and not cell["engine"].startswith(OURS) and cell["p50_us"] < ours["p50_us"]:
                where = f"{shape}, one row, {cell['missing']:.0%} missing"
                figures = {"peer": cell["p50_us"], "ours": ours["p50_us"], "unit": "us"}
                found.append({"where": where, "engine": cell["engine"], **figures})
        for cell in case["batch"]:
            ours = _cell(case["batch"], **{key: cell[key] for key in ("missing", "rows", "threads")})
            if ours and not cell["engine"].startswith(OURS) and cell["median_rows_per_s"] > ours["median_rows_per_s"]:
                where = f"{shape}, {cell['rows']:,} rows, {cell['threads']} threads, {cell['missing']:.0%} missing"
                figures = {"peer": cell["median_rows_per_s"], "ours": ours["median_rows_per_s"], "unit": "rows/s"}
                found.append({"where": where, "engine": cell["engine"], **figures})
    return found


def _cell(cells: list[dict[str, Any]], **keys) -> dict[str, Any] | None:
    return next((c for c in cells if c["engine"] == OURS and all(c[k] == v for k, v in keys.items())), None)


def _p50(case: dict[str, Any], engine: str) -> float | None:
    return next((c["p50_us"] for c in case["one_row"] if c["engine"] == engine and c["missing"] == HEADLINE_MISSING), None)


def _how(document: dict[str, Any]) -> str:
    return f"{how_timed(document['clock_us'])} (own) = a forest of its own of the same size."


def _engine_names(case: dict[str, Any]) -> list[tuple[str, str]]:
    return [(e["name"], e["name"] + (" (own)" if e["own_model"] else "")) for e in case["engines"]]


def _one_row_table(case: dict[str, Any]) -> str:
    cells = {(c["engine"], c["missing"]): c for c in case["one_row"]}
    prepare = {e["name"]: e["prepare_s"] for e in case["engines"]}
    rows = []
    for name, shown in _engine_names(case):
        for share in sorted({c["missing"] for c in case["one_row"]}):
            if (cell := cells.get((name, share))) is None:
                continue
            difference = case["max_margin_diff"].get(name)
            figures = [number(cell[key]) for key in ("p50_us", "best_block_us", "p99_us", "p999_us")]
            last = ["-" if difference is None else f"{difference:.1e}", number(prepare[name]), cell["setting"]]
            rows.append([shown, f"{share:.0%}", *figures, f"{cell['calls']:,}", *last])
    header = ("one row", "missing", "p50 us", "quickest block us", "p99 us", "p99.9 us", "calls", "max margin diff", "prepare s",
              "setting")  # fmt: skip
    return table(header, rows) if rows else ""


def _batch_table(case: dict[str, Any]) -> str:
    columns = sorted({(c["missing"], c["threads"], c["rows"]) for c in case["batch"]})
    parts = []
    for missing, threads in sorted({column[:2] for column in columns}):
        sizes = [rows for m, t, rows in columns if (m, t) == (missing, threads)]
        cells = {(c["engine"], c["rows"]): c for c in case["batch"] if (c["missing"], c["threads"]) == (missing, threads)}
        rows = [
            [shown, *(_rate(cells.get((name, size))) for size in sizes), cells.get((name, sizes[-1]), {}).get("setting", "-")]
            for name, shown in _engine_names(case)
            if any((name, size) in cells for size in sizes)
        ]
        title = f"M rows/s, {threads} thread{'s' * (threads > 1)}, {missing:.0%} missing"
        parts.append(table((title, *(f"n = {size:,}" for size in sizes), "setting at the largest n"), rows))
    return "\n\n".join(parts)


def _rate(cell: dict[str, Any] | None) -> str:
    return "-" if cell is None else f"{millions(cell['median_rows_per_s'])} ({millions(cell['best_rows_per_s'])})"


def _losses(document: dict[str, Any]) -> str:
    found = losses(document)
    if any(_cell(case["one_row"]) is None for case in document["cases"]):
        return "Ours was not measured on every shape: see what failed."
    if not found:
        return "Losses: none; no peer was faster than ours in any cell."
    rows = [[f["where"], f["engine"], f"{number(f['peer'])} {f['unit']}", f"{number(f['ours'])} {f['unit']}"] for f in found]
    return "Losses: a peer was faster than ours here.\n\n" + table(("where", "peer", "its figure", "ours"), rows)
