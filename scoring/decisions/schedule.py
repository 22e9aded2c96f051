"""The scheduler of this process, as the settings want it."""

from __future__ import annotations

from django.conf import settings

from scoring.engine import (
    CostLine,
    CostModel,
    DynamicBatchConfig,
    ExpectedCompletion,
    LearnedConfig,
    Priority,
    Scheduler,
    Tuning,
    trained_policy,
)

UNIT, VARIANT, REDUCED = "engine", "full", "reduced"
# What a batch is taken to cost before any was seen: an fsync, and the way of a row. Ten batches are enough to forget it.
_FIRST_FIXED_US, _FIRST_ROW_US = 1_000.0, 30.0
# To look at the traffic costs 0.1 ms; five times less often than in the simulator, it is half a per cent of the loop.
_WINDOW_US = 20_000.0
# With one unit, whose commits cost as much as many rows, batches of the batch endpoint may take half of the target.
_TUNING = Tuning(low_share=0.5)


def batch_config() -> DynamicBatchConfig:
    """Return what the operator asks of batching.

    Raises:
        SchedulingError: naming what is out of range.
    """
    return DynamicBatchConfig(
        target_latency_ms=settings.TARGET_LATENCY_MS,
        max_batch_size=settings.ENGINE_MAX_BATCH,
        max_queue_delay_us=settings.MAX_QUEUE_DELAY_US,
        deadlines_ms={
            Priority.LIVE: settings.LIVE_DEADLINE_MS,
            Priority.BULK: settings.BULK_DEADLINE_MS,
        },
    )


def new_scheduler() -> Scheduler:
    """Return a scheduler with one unit: the engine, whose batches are scored and committed one after the other.

    It knows the program and the one without its net; as long as that saves nothing (see tell_saving), none is reduced.
    """
    costs = CostModel([(UNIT, VARIANT, CostLine(VARIANT, _FIRST_FIXED_US, _FIRST_ROW_US))])
    costs.add_reduced(UNIT, REDUCED, VARIANT)
    if settings.SCHEDULING_POLICY == "learned":
        return Scheduler(batch_config(), costs, trained_policy(LearnedConfig(window_us=_WINDOW_US)))
    return Scheduler(batch_config(), costs, ExpectedCompletion(_TUNING))


def tell_saving(scheduler: Scheduler, saved_row_us: float) -> None:
    """Tell what the reduced program saves of each row; 0 where the program in use has none."""
    scheduler.costs.line(UNIT, REDUCED).saved_row_us = saved_row_us
