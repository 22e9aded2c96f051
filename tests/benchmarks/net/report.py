"""Tables and the last line of `make bench-net`."""

from __future__ import annotations

import json
import platform
from typing import Any

import torch

from tests.benchmarks.accuracy.published import PUBLISHED
from tests.benchmarks.net.summary import AP, AUC, CP100, DENSE, FINISHED, FOREST, INT8, PRUNED, TRAINED_ON, Estimate, Runs

_KINDS = (("week", "7 training days"), ("history", "all matured history"))


def figures_table(runs: dict[str, Runs]) -> str:
    """Return Markdown: the published models, then forest, every stage of the net, and blends, of each kind of training."""
    rows = ["| model | AUC ROC | AP | CP@100 |", "| --- | --- | --- | --- |"]
    rows += [f"| {name} (published) | {auc:.3f} | {ap:.3f} | {cp:.3f} |" for name, auc, ap, cp in PUBLISHED]
    for kind, text in _KINDS:
        if of := runs.get(kind):
            rows.append(_row(f"forest alone, {text}", of, FOREST, blended=False))
            for stage in of.stages:
                if stage != FOREST:
                    rows.append(_row(f"net alone, {stage}, {text}", of, stage, blended=False))
            for stage in of.stages:
                if stage != FOREST:
                    rows.append(_row(f"**forest + net**, {stage}, {text}", of, stage, blended=True))
    return "\n".join(rows)


def _row(name: str, runs: Runs, stage: str, *, blended: bool) -> str:
    cells = (_cell(runs.figure(stage, which, blended=blended)) for which in (AUC, AP, CP100))
    return f"| {name} | " + " | ".join(cells) + " |"


def _cell(of: Estimate) -> str:
    return f"{of.mean:.4f}" if of.low == of.high else f"{of.mean:.4f} ({of.low:.4f} to {of.high:.4f})"


def bytes_table(runs: dict[str, Runs]) -> str:
    """Return Markdown: bytes of the parameters, indices and scales counted."""
    rows = ["| parameters of the net | bytes | saved |", "| --- | --- | --- |"]
    for kind, text in _KINDS:
        if of := runs.get(kind):
            found = of.bytes()
            rows += [f"| {name}, {text} | {size:,.0f} | {1 - size / found['float32']:.1%} |" for name, size in found.items()]
    return "\n".join(rows)


def last_line(runs: dict[str, Runs], kernels: dict[str, float | None], seconds: float) -> str:
    """Return the JSON object that ends the output; the losses are of the net alone, which a blend would hide."""
    told: dict[str, Any] = {}
    for kind, suffix in (("week", "7d"), ("history", "all")):
        if of := runs.get(kind):
            told |= {f"{name}_{suffix}": of.figure(FINISHED, which, blended=True).mean for name, which in _NAMED}
            told |= {f"forest_{name}_{suffix}": of.figure(FOREST, which, blended=False).mean for name, which in _NAMED}
            told |= {f"net_ap_{suffix}": of.figure(FINISHED, AP, blended=False).mean}
    if of := runs.get("week") or runs.get("history"):
        size = of.bytes()
        told |= {
            "bytes_saved_pruning": 1 - size["float32 pruned"] / size["float32"],
            "bytes_saved_int8": 1 - size["int8 pruned"] / size["float32"],
            "ap_loss_pruned": of.relative_loss(PRUNED, DENSE, blended=False),
            "ap_loss_int8": of.relative_loss(INT8, TRAINED_ON, blended=False),
            "ap_loss_finished": of.relative_loss(FINISHED, DENSE, blended=False),
            "flips_per_million_int8": of.estimate(lambda run: run.flips_per_million).mean,
            "flops_skipped_b1": of.estimate(lambda run: run.quads_skipped).mean,
            "multiplications_with_zero_b1": of.estimate(lambda run: run.multiplications_skipped).mean,
            "seeds": of.seeds,
        }
    told |= kernels | {"seconds": seconds, "torch": torch.__version__, "python": platform.python_version()}
    return json.dumps({name: round(of, 5) if isinstance(of, float) else of for name, of in told.items()})


_NAMED = (("ap", AP), ("cp100", CP100), ("auc", AUC))
