"""Runs everything on the CPU, prints tables and, last, one line of JSON."""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch

from kernels.native import cpu_variant
from tests.benchmarks.net_kernels.case import USUAL_DENSITY, rows, whole_program
from tests.benchmarks.net_kernels.measure import batches, bins_of, one_row, skipping

DENSITIES = (1.0, 0.5, 0.3, 0.15, 0.05)
ROWS = 1024
SKIPPED_ROWS = 256


def main(arguments: list[str] | None = None) -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, and no compiled peer: to see that it runs")
    quick = parser.parse_args(arguments).quick
    torch.set_num_threads(1)
    result = measured(2 if quick else 80, not quick)
    print(tables_of(result))
    print(json.dumps(summary(result)))
    return 0


def measured(rounds: int, with_compile: bool) -> dict[str, Any]:
    """Return all figures."""
    tables = whole_program()
    assert tables.net is not None
    x = rows(ROWS)
    return {
        "instructions": cpu_variant(),
        "one_row": one_row(tables, x, rounds),
        "batches": batches(tables.net, bins_of(tables, x), rounds=rounds, with_compile=with_compile),
        "skipping": {density: _skipping(density, rounds) for density in DENSITIES},
    }


def _skipping(density: float, rounds: int) -> list[dict[str, Any]]:
    tables = whole_program(density)
    assert tables.net is not None
    return skipping(tables.net, bins_of(tables, rows(SKIPPED_ROWS)), rounds=rounds)


def tables_of(result: dict[str, Any]) -> str:
    """Return the figures for people."""
    lines = [f"instructions: {result['instructions']}; one thread", "", "one row of 50 rules + 200 trees + net, us"]
    lines += [f"  {name:12s} p50 {of['p50_us']:7.2f}   p99 {of['p99_us']:7.2f}" for name, of in result["one_row"].items()]
    lines += ["", "the net on batches, us, and how many times ours"]
    for line in result["batches"]:
        ours = line["us"]["ours int8"]
        lines.append(f"  {line['rows']:5d} rows")
        lines += [f"    {name:28s} {us:10.1f}  {us / ours:6.2f} x" for name, us in line["us"].items()]
    lines += ["", "activations that are zero: share of multiplications, and us a batch by path"]
    for density, cells in result["skipping"].items():
        for of in cells:
            times = "  ".join(f"{name} {us:8.2f}" for name, us in of["us_a_batch"].items())
            shares = f"zero {of['zero_share']:5.1%}, skipped {of['skipped_share']:5.1%}"
            lines.append(f"  density {density:4.2f}, {of['rows']:3d} rows: {shares}, {times}, dense / auto {of['speedup']:.2f}")
    return "\n".join(lines)


def summary(result: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of the last line: the slowest against the best peer of each kind, at 32 rows and more."""
    large = [line["us"] for line in result["batches"] if line["rows"] >= 32]
    usual = {of["rows"]: of for of in result["skipping"][USUAL_DENSITY]}

    def least_times(kind: str) -> float:
        return round(min(min(us for name, us in of.items() if kind in name) / of["ours int8"] for of in large), 2)

    return {
        "program_one_row_us": round(result["one_row"]["whole"]["p50_us"], 2),
        "reduced_one_row_us": round(result["one_row"]["without_net"]["p50_us"], 2),
        "int8_times_float32": least_times("float32"),
        "int8_times_torch_int8": least_times("torch int8"),
        "int8_times_onnx_int8": least_times("Runtime int8"),
        "flops_skipped_b1": round(usual[1]["skipped_share"], 3),
        "speedup_activation_b1": round(usual[1]["speedup"], 2),
        "speedup_activation_b8": round(usual[8]["speedup"], 2),
        "speedup_activation_b64": round(usual[64]["speedup"], 2),
    }
