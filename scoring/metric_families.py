"""Totals as Prometheus' metric families: names, help texts and labels are here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from scoring.decisions.stamps import WORDS
from scoring.energy import device_joules
from scoring.histograms import AGE_BOUNDS, BATCH_BOUNDS, LATENCY_BOUNDS_MS, STAGE_BOUNDS
from scoring.metrics_folder import Totals
from scoring.models import Outcome

_LATENCY_BOUNDS = tuple(bound / 1000 for bound in LATENCY_BOUNDS_MS)
_PLAIN_COUNTERS = {
    "replays": ("risk_replays", "Requests answered with a stored decision"),
    "refused": ("risk_refused", "Transactions and requests refused before the engine"),
    "errors": ("risk_errors", "Requests that got an error from the engine"),
    "degraded": ("risk_degraded", "Decisions that are marked as degraded"),
    "batches": ("risk_batches", "Batches that the engine ran"),
    "promotions": ("risk_ladder_promotions", "Static programs made because their shape came often"),
    "recompiles": ("risk_ladder_recompiles", "Promotions of a shape that had one before"),
    "failed_builds": ("risk_ladder_failed_builds", "Static programs that could not be made"),
    "device_failures": ("risk_device_failures", "Batches that an accelerator failed on; the CPU ran them"),
    "program_swaps": ("risk_program_swaps", "New programs that took over between two batches"),
    "rate_limit_failures": ("risk_rate_limit_store_failures", "Exchanges with the store of the rate limits that failed"),
    "rate_changes": ("risk_scheduler_rate_changes", "Times that the rate of arrivals was taken to have changed"),
    "clock_steps": ("risk_clock_steps", "Times that the wall clock was set"),
}
_LABELLED_COUNTERS = {
    "shed": ("risk_shed", "Transactions and requests turned away though they were in order, by why", "reason"),
    "ladder": (
        "risk_ladder_batches",
        "Batches by what ran them: a static program, or a dynamic variant because it is cheaper (dynamic), there is no "
        "program of that shape yet (miss), a guard failed, or the program was busy",
        "path",
    ),
    "rate_limit": ("risk_rate_limit", "Requests that the rate limits judged", "verdict"),
    "breaker_opened": ("risk_breaker_opened", "Times that a dependency's breaker opened", "dependency"),
    "breaker_refused": ("risk_breaker_refused", "Calls that an open breaker refused", "dependency"),
    "scheduler_batches": ("risk_scheduler_batches", "Batches that were reduced, run by a spare unit, or failed", "kind"),
    "policy_windows": (
        "risk_scheduler_policy_windows",
        "Windows that the learned policy spent with a tuning, 0 the safe one",
        "tuning",
    ),
    "policy_events": ("risk_scheduler_policy_events", "Windows explored or held after a change, and times switched off", "event"),
    "shared_log": ("risk_shared_log", "What the feature state did with the log that it shares with others", "event"),
}
# Gauges of the processes: how they make one number.
_SUMMED = {
    "arrivals_per_s": ("risk_arrivals_per_second", "Rate of arrivals as the scheduler sees it"),
    "queue_depth": ("risk_queue_depth", "Decisions that wait for the engine"),
    "in_flight": ("risk_in_flight", "Requests that are being answered"),
    "feature_events": ("risk_feature_events", "Events in the feature windows, over the kinds of entity"),
    "feature_bytes": ("risk_feature_bytes", "Bytes of the feature windows"),
    "static_programs": ("risk_ladder_static_programs", "Static programs that are ready"),
}
_WORST = {
    "release_refused": ("risk_release_refused", "1 where the champion could not be loaded and another program serves"),
    "disk_full": ("risk_disk_full", "1 where decisions are refused because a volume is below its floor"),
    "disk_alarm": ("risk_disk_alarm", "1 where a volume is fuller than 80 %"),
    "clock_stepped": ("risk_clock_stepped", "1 while decisions are stamped because the wall clock was set"),
    "shared_log_lost": ("risk_shared_log_lost", "1 where a process decides on windows that do not follow the shared log"),
    "outbox_lag": ("risk_outbox_lag_seconds", "Age of the oldest effect of a decision that is not carried out"),
}
_BY_PROCESS = {
    "p99": ("inference_latency_p99", "Seconds below which 99 % of the answers of the last 10 s took"),
    "rate_limit_shared": ("risk_rate_limit_shared", "1 where the rate limits are shared with other processes"),
    "rate_limit_store": (
        "risk_rate_limit_store_up",
        "1 where the store of the rate limits answers",
    ),
}


class Families:
    """A collector of prometheus_client. Without totals there is no engine, and it says that alone."""

    def __init__(self, totals: Totals | None) -> None:
        self._totals = totals

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("risk_engine_up", "1 where the engine takes requests", value=float(self._totals is not None))
        if self._totals is None:
            return
        counters, processes = self._totals.counters, self._totals.gauges
        yield from _counters(counters)
        yield from _requests(counters["requests"])
        yield from _stages(counters["stages"])
        yield _by_class(counters["scheduled"])
        yield _histogram("risk_batch_rows", "Decisions of a batch", BATCH_BOUNDS, counters["batch_rows"])
        yield _histogram("risk_queue_age_seconds", "Wait of a decision before it was taken", AGE_BOUNDS, counters["queue_age"])
        yield from _gauges(processes)
        yield _labelled("risk_device_energy_joules", "Energy that the host's GPUs used", "device", device_joules(), counter=True)


def _counters(counters: dict[str, Any]) -> Iterator[Metric]:
    outcomes = dict(zip((outcome.label for outcome in Outcome), counters["outcomes"], strict=True))
    yield _labelled("risk_decisions", "Committed decisions", "outcome", outcomes, counter=True)
    stamps = dict(zip(WORDS, counters["stamps"], strict=True))
    yield _labelled("risk_stamped", "Committed decisions by their stamps; one may have several", "stamp", stamps, counter=True)
    for key, (name, text) in _PLAIN_COUNTERS.items():
        yield CounterMetricFamily(name, text, value=counters[key])
    for key, (name, text, label) in _LABELLED_COUNTERS.items():
        yield _labelled(name, text, label, counters[key], counter=True)


def _by_class(scheduled: dict[str, int]) -> Metric:
    text = "Decisions by class: let in, refused as they could not be made in time, and too late when their turn came"
    family = CounterMetricFamily("risk_scheduled", text, labels=["class", "verdict"])
    for key, count in scheduled.items():
        family.add_metric(key.split(" "), count)
    return family


def _requests(requests: dict[str, Any]) -> Iterator[Metric]:
    family = HistogramMetricFamily(
        "risk_request_duration_seconds", "From the request's arrival to its answer", labels=["door", "status"]
    )
    for key, found in requests.items():
        family.add_metric(key.split(" "), _buckets(_LATENCY_BOUNDS, found["counts"]), found["sum"] / 1000)
    yield family


def _stages(stages: dict[str, Any]) -> Iterator[Metric]:
    names = ["device", "variant", "stage"]
    times = HistogramMetricFamily("risk_inference_duration_seconds", "Time of a batch in a stage", labels=names)
    rows = CounterMetricFamily("risk_inference_rows", "Decisions that went through a stage", labels=names)
    busy: dict[str, float] = {}
    commit = {"counts": [0] * (len(STAGE_BOUNDS) + 1), "sum": 0.0}
    for key, found in stages.items():
        device, variant = key.split(" ", 1)
        for stage, of in found.items():
            times.add_metric([device, variant, stage], _buckets(STAGE_BOUNDS, of["counts"]), of["sum"])
            rows.add_metric([device, variant, stage], of["rows"])
            if stage == "commit":
                commit = of
            else:
                busy[device] = busy.get(device, 0.0) + of["sum"]
    yield times
    yield rows
    yield _histogram("risk_commit_duration_seconds", "Time that a batch's commit took", STAGE_BOUNDS, commit)
    yield _labelled("risk_device_busy_seconds", "Time that a device was at work on decisions", "device", busy, counter=True)


def _gauges(processes: dict[str, dict[str, Any]]) -> Iterator[Metric]:
    yield GaugeMetricFamily("risk_engine_processes", "Live engine processes of this host", value=len(processes))
    for key, (name, text) in _SUMMED.items():
        yield GaugeMetricFamily(name, text, value=sum(gauges[key] for gauges in processes.values()))
    for key, (name, text) in _WORST.items():
        known = [gauges[key] for gauges in processes.values() if gauges[key] is not None]
        yield GaugeMetricFamily(name, text, value=max(known)) if known else GaugeMetricFamily(name, text, labels=[])
    for key, (name, text) in _BY_PROCESS.items():
        known = {process: gauges[key] for process, gauges in processes.items() if gauges[key] is not None}
        yield _labelled(name, text, "process", known)
    yield _by_two("risk_breaker_state", "0 closed, 1 half open, 2 open", "dependency", processes, "breakers")
    yield _by_two("risk_device_busy_share", "Share of the last 10 s that a device was at work", "device", processes, "busy")
    yield from _costs(processes)
    yield from _merged(processes)


def _costs(processes: dict[str, dict[str, Any]]) -> Iterator[Metric]:
    labels = ["unit", "variant", "process"]
    fixed = GaugeMetricFamily("risk_batch_cost_fixed_seconds", "What a batch costs whatever its size, as learned", labels=labels)
    row = GaugeMetricFamily("risk_batch_cost_row_seconds", "What each of its decisions adds, as learned", labels=labels)
    policies = set()
    for process, gauges in processes.items():
        policies |= {gauges["policy"]} - {None}
        for key, (of_batch, of_row) in gauges["costs"].items():
            unit_and_variant = key.rsplit(" ", 1)
            fixed.add_metric([*unit_and_variant, process], of_batch)
            row.add_metric([*unit_and_variant, process], of_row)
    yield fixed
    yield row
    yield _labelled("risk_scheduler_policy_info", "How batches are formed", "policy", dict.fromkeys(sorted(policies), 1.0))


def _merged(processes: dict[str, dict[str, Any]]) -> Iterator[Metric]:
    """Yield what is the same for all processes of a host, and what they may differ in while they change over."""
    volumes: dict[str, list[float]] = {}
    versions: set[str] = set()
    unsafe: dict[str, float] = {}
    for gauges in processes.values():
        volumes |= gauges["disk"]
        versions.add(gauges["program"])
        unsafe |= gauges["unsafe"]
    yield _labelled("risk_program_info", "The program that is live", "version", dict.fromkeys(sorted(versions), 1.0))
    free = {volume: found[0] for volume, found in volumes.items()}
    yield _labelled("risk_disk_free_bytes", "Free space of the volume that holds a path", "path", free)
    used = {volume: found[1] for volume, found in volumes.items()}
    yield _labelled("risk_disk_used_share", "Used share of the volume that holds a path", "path", used)
    text = "1 for each setting of the database under which answered decisions can be lost, and that was allowed by name"
    yield _labelled("risk_unsafe_durability", text, "setting", unsafe)


def _labelled(name: str, text: str, label: str, values: dict[str, float], *, counter: bool = False) -> Metric:
    family = (CounterMetricFamily if counter else GaugeMetricFamily)(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _by_two(name: str, text: str, label: str, processes: dict[str, dict[str, Any]], key: str) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label, "process"])
    for process, gauges in processes.items():
        for of, value in gauges[key].items():
            family.add_metric([of, process], value)
    return family


def _histogram(name: str, text: str, bounds: tuple[float, ...], found: dict[str, Any]) -> Metric:
    family = HistogramMetricFamily(name, text)
    family.add_metric([], _buckets(bounds, found["counts"]), found["sum"])
    return family


def _buckets(bounds: Iterable[float], counts: list[int]) -> list[tuple[str, float]]:
    """Return Prometheus' cumulative buckets of plain counts."""
    names = [*(repr(bound) for bound in bounds), "+Inf"]
    return list(zip(names, accumulate(counts), strict=True))
