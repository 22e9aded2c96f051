"""The table, the losses and the last line."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.fuse.engines import COMPILED, EAGER, OURS

TOLERANCE = 1e-5


def best_compiled(times: dict[str, float]) -> float:
    """Return torch.compile's time in its best mode."""
    return min(times[name] for name in COMPILED if name in times)


def is_faster(case: dict[str, Any]) -> bool:
    """Whether ours was the faster of the two at every size."""
    return all(times[OURS] < best_compiled(times) for times in case["times_us"].values())


def losses(cases: list[dict[str, Any]]) -> list[str]:
    """Return where another engine was as fast or faster."""
    return [
        f"{case['name']}, {rows} rows: {name} {us} us, ours {times[OURS]} us"
        for case in cases
        for rows, times in case["times_us"].items()
        for name, us in times.items()
        if name != OURS and us <= times[OURS]
    ]


def summary(document: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of the last line."""
    cases = document["cases"]
    return {
        "functions": len(cases),
        "faster_than_compile": sum(map(is_faster, cases)),
        "max_diff": max(case["difference"][OURS] for case in cases),
        "threads": document["threads"],
        "least_gain": round(min(best_compiled(t) / t[OURS] for case in cases for t in case["times_us"].values()), 2),
        "losses": len(losses(cases)),
    }


def table(document: dict[str, Any]) -> str:
    """Return microseconds a call, and what was compiled, as a Markdown table."""
    lines = ["| function | rows | eager | torch.compile | reduce-overhead | for one size | ours | best of torch.compile / ours |",
             "| --- | --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for case in document["cases"]:
        for rows, times in case["times_us"].items():
            others = " | ".join(f"{times[name]:.1f}" for name in (EAGER, *COMPILED))
            lines.append(f"| {case['name']} | {rows} | {others} | {times[OURS]:.1f} | {best_compiled(times) / times[OURS]:.2f} |")
    lines += ["", "| function | operations eager / ours | compilations torch.compile / ours | largest difference to eager |",
              "| --- | --- | --- | --- |"]  # fmt: skip
    for case in document["cases"]:
        counts, compiled = case["operations"], case["compilations"]
        lines.append(f"| {case['name']} | {counts[EAGER]} / {counts[OURS]} | {compiled['torch.compile']} / {compiled[OURS]} | "
                     f"{case['difference'][OURS]:.1e} |")  # fmt: skip
    return "\n".join([*lines, "", *(f"LOSS: {loss}" for loss in losses(document["cases"]))])
