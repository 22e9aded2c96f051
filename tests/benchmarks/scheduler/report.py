"""The scheduler's tables in Markdown."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.scheduler.run import ECT, LEARNED, summary
from tests.benchmarks.side_by_side.environment import noise_note
from tests.benchmarks.side_by_side.tables import environment_lines, number, table

__all__ = ["markdown", "summary"]


def markdown(document: dict[str, Any]) -> str:
    """Return all tables of a run."""
    parts = [environment_lines(document["environment"]), noise_note(document["other_cores"]), _costs(document)]
    parts += [_decision(document), _verdicts(document), _latencies(document), _throughput(document), _burst(document)]
    return "\n\n".join(parts)


def _costs(document: dict[str, Any]) -> str:
    engine = document["engine"]
    rows = [
        (name, number(line["fixed_us"]), f"{line['row_us']:.4f}")
        for name, line in document["costs"].items()
        if isinstance(line, dict)
    ]
    rows.append(("the engine around it (given)", number(engine["fixed_us"]), f"{engine['row_us']:.4f}"))
    return table(("cost of a batch", "fixed us", "us a row"), rows)


def _decision(document: dict[str, Any]) -> str:
    of = document["decision_us"]
    return table(("the scheduler's own time, us", *of), [("on this machine", *(f"{us:.2f}" for us in of.values()))])


def _verdicts(document: dict[str, Any]) -> str:
    head = (
        "traffic", "ECT p99 us", "learned p99 us", "p99 less ECT's (95 %)", "mean less ECT's (95 %)",
        "p99 less the safe tuning's", "missed", "against ECT",
    )  # fmt: skip
    return table(head, [_verdict(name, of) for name, of in document["classes"].items()])


def _verdict(name: str, of: dict[str, Any]) -> tuple[str, ...]:
    against, policies = of["learned_against_ect"], of["policies"]
    found = [
        f"{label} {'better' if against[measure]['better'] else 'worse'}"
        for measure, label in (("p99_us", "p99"), ("mean_us", "mean"), ("miss_rate", "misses"))
        if against[measure]["better"] or against[measure]["worse"]
    ]
    return (
        name,
        number(policies[ECT]["p99_us"]),
        number(policies[LEARNED]["p99_us"]),
        _interval(against["p99_us"]),
        _interval(against["mean_us"]),
        _interval(of["learned_against_safe"]["p99_us"]),
        f"{100 * policies[LEARNED]['miss_rate']:.3f} %",
        ", ".join(found) or "equal",
    )


def _interval(of: dict[str, float]) -> str:
    return f"{of['mean']:+,.0f} ({of['low']:+,.0f} to {of['high']:+,.0f})"


def _latencies(document: dict[str, Any]) -> str:
    classes = document["classes"]
    names = list(next(iter(classes.values()))["policies"])
    rows = []
    for name in names:
        cells = []
        for of in classes.values():
            figures = of["policies"][name]
            missed = f", {100 * figures['miss_rate']:.1f} % missed" if figures["miss_rate"] >= 0.0005 else ""
            cells.append(f"{number(figures['p50_us'])} / {number(figures['p99_us'])}{missed}")
        rows.append((name, *cells))
    rows.append(("(best fixed)", *(of["best_fixed"] for of in classes.values())))
    return table(("p50 / p99 us of LIVE", *classes), rows)


def _throughput(document: dict[str, Any]) -> str:
    rows = [
        (name, number(of["one_by_one_per_s"]), number(of["learned_per_s"]), f"{of['ratio']:.2f}")
        for name, of in document["throughput"]["by_units"].items()
    ]
    target = document["config"]["target_latency_ms"]
    return table((f"highest rate with p99 <= {target:g} ms", "one by one, rows/s", "learned, rows/s", "ratio"), rows)


def _burst(document: dict[str, Any]) -> str:
    of = document["burst"]
    return table(
        ("spare unit in the flash crowd", "batches", "takes over after p50 / p99 / most, us", "p99 us without / with"),
        [(
            "cpu:1", str(of["batches"]),
            f"{number(of['takeover_p50_us'])} / {number(of['takeover_p99_us'])} / {number(of['takeover_max_us'])}",
            f"{number(of['p99_us_without'])} / {number(of['p99_us_with'])}",
        )],
    )  # fmt: skip
