"""Schedulers for the tests, and a clockless loop that serves what was admitted."""

from __future__ import annotations

from inference_core.runtime.cost import CostLine
from inference_core.scheduling import CostModel, DynamicBatchConfig, Policy, Scheduler

Lines = dict[tuple[str, str], tuple[float, float]]
TWO_UNITS: Lines = {("cpu:0", "full"): (40.0, 8.0), ("cuda:0", "full"): (60.0, 2.0)}
ONE_UNIT: Lines = {("cpu:0", "full"): (40.0, 8.0), ("cpu:0", "reduced"): (40.0, 2.0)}


def scheduler(
    lines: Lines | None = None, config: DynamicBatchConfig | None = None, policy: Policy | None = None, spare: str | None = None
) -> Scheduler:
    """Return a scheduler whose cost lines start at `lines`."""
    costs = CostModel((device, variant, CostLine(variant, *line)) for (device, variant), line in (lines or TWO_UNITS).items())
    return Scheduler(config or DynamicBatchConfig(), costs, policy, spare)


def arrive(of: Scheduler, priority: int, rows: int, now_us: float, item: object = None, deadline_us: float | None = None):
    """Admit and queue; return the refusal where there is one."""
    deadline = now_us + of.config.deadline_us(priority) if deadline_us is None else deadline_us
    refusal = of.admit(priority, rows, deadline, now_us)
    if refusal is None:
        of.queue.put(priority, item, rows, now_us, deadline)
    return refusal
