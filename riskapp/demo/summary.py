"""What came out of it, from the ledger and from the sender's own clock."""

from __future__ import annotations

import time

from riskapp.demo.stream import StreamResult
from scoring.models import Alert, OutboxEvent, ProgramRelease, TrainingRun
from scoring.selectors.accuracy import accuracy
from scoring.selectors.live import live_figures


def wait_for_effects(patience_s: float = 10.0) -> None:
    """Wait until the alerts of the last decisions are raised and the engine has written its last second."""
    time.sleep(2.0)
    deadline = time.monotonic() + patience_s
    while OutboxEvent.objects.exists() and time.monotonic() < deadline:
        time.sleep(0.2)


def summary_lines(result: StreamResult, cost_currency: str) -> list[str]:
    """Return the lines of the closing summary."""
    outcomes = ", ".join(f"{count:,} {name}" for name, count in result.outcomes.most_common())
    per_second = result.sent / result.seconds if result.seconds else 0
    lines = [
        f"decisions     {result.sent:,} over HTTP in {result.seconds:.0f} s ({per_second:,.0f}/s), on disk before the answer",
        f"outcomes      {outcomes or 'none'}",
    ]
    if result.refused:
        lines.append(f"refused       {result.refused:,}, the first: {result.first_refusal}")
    if result.latencies:
        p50, p99 = result.percentile_ms(0.5), result.percentile_ms(0.99)
        lines.append(f"latency       p50 {p50:.1f} ms, p99 {p99:.1f} ms, seen by the client")
    lines += _accuracy_lines()
    live = live_figures()
    if live.cost_per_million is not None:
        lines.append(f"cost          {live.cost_per_million:.3f} {cost_currency} of processor time per million decisions")
    lines.append(f"labels        {result.labels:,} reported;  alerts {Alert.objects.count():,}")
    runs = TrainingRun.objects.exclude(state__in=[TrainingRun.State.PENDING, TrainingRun.State.RUNNING])
    states = ", ".join(f"{runs.filter(state=state).count()} {state}" for state in ("promoted", "refused", "skipped", "failed"))
    champion = ProgramRelease.objects.filter(state=ProgramRelease.State.CHAMPION).values_list("version", flat=True).first()
    lines.append(f"training      {runs.count()} runs ({states}); live program {champion or 'rules only'}")
    return lines


def _accuracy_lines() -> list[str]:
    found = accuracy()
    if found is None:
        return ["accuracy      no payment has matured yet: a label needs time to arrive"]
    ap = found.average_precision
    told = "not known" if ap is None else f"{ap.value:.3f} (95 % interval {ap.low:.3f} to {ap.high:.3f})"
    return [f"accuracy      AP {told} over {found.decisions:,} matured decisions with {found.recall.total:,} frauds"]
