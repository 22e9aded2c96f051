"""Tables and the last line of `make bench-serving`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median

from tests.benchmarks.serving.generator import LoadResult
from tests.benchmarks.serving.measure import Measurement, Phase

# The kernel's own threads and an idle system stay below this.
QUIET_CORES = 0.2
OURS, PLAIN = "ours", "plain"
SINGLE = Phase("single, closed loop")
BATCH = Phase("batch of 100, closed loop", batch=100, connections=4)


def open_loop(rate_per_s: int) -> Phase:
    """Return single requests that are due at random moments, so many a second."""
    return Phase(f"single, open loop {rate_per_s:,}/s", rate_per_s=rate_per_s)


OPEN_500, OPEN_1000 = open_loop(500), open_loop(1000)


class Results:
    """All measured phases of all rounds, probes left out."""

    def __init__(self, measurements: Iterable[Measurement]) -> None:
        self._all = list(measurements)

    def of(self, stack: str, phase: Phase) -> list[Measurement]:
        """Return the rounds of one phase."""
        return [m for m in self._all if m.stack == stack and m.phase == phase]

    def median(self, stack: str, phase: Phase, figure: Callable[[Measurement], float]) -> float | None:
        """Return the median over the rounds, None where the phase was not run."""
        rounds = [figure(m) for m in self.of(stack, phase)]
        return median(rounds) if rounds else None

    def is_sustained(self, stack: str, phase: Phase) -> bool:
        """Whether every round kept up with the offered rate."""
        rounds = self.of(stack, phase)
        return bool(rounds) and all(m.load.is_sustained for m in rounds)

    @property
    def most_other_cores(self) -> float:
        """CPU, in cores, that neither server nor generator used in the window where that was most."""
        return max((m.other_cores for m in self._all), default=0.0)

    def closed_loop_failures(self, stack: str) -> int:
        """Return how many requests failed although the server was offered no more than it took."""
        return sum(m.load.failures for m in self._all if m.stack == stack and not m.phase.rate_per_s)

    def phases(self) -> list[tuple[str, Phase]]:
        """Return (stack, phase) in the order of the first round."""
        return list(dict.fromkeys((m.stack, m.phase) for m in self._all))


def environment_table(facts: dict[str, str]) -> str:
    """Return a Markdown table of label and text."""
    return "\n".join(["| | |", "|---|---|", *(f"| {label} | {text} |" for label, text in facts.items())])


def results_table(results: Results) -> str:
    """Return a Markdown table, a row for each stack and phase; figures are medians of the rounds."""
    rows = _header(
        ("stack", "load", "connections", "tx/s", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms")
        + ("server CPU us/tx", "others' cores", "failures")
    )
    for stack, phase in results.phases():
        latencies = [_ms(results, stack, phase, name) for name in ("p50", "p90", "p99", "p99_9", "max")]
        rate = _number(results.median(stack, phase, lambda m: m.per_s))
        if phase.rate_per_s and not results.is_sustained(stack, phase):
            rate += " (not sustained)"
        cpu = _number(results.median(stack, phase, lambda m: m.cpu_us))
        others = " / ".join(f"{m.other_cores:.2f}" for m in results.of(stack, phase))
        failures = sum(m.load.failures for m in results.of(stack, phase))
        cells = [stack, phase.name, str(phase.connections), rate, *latencies, cpu, others, str(failures)]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def rounds_table(results: Results) -> str:
    """Return a Markdown table of transactions/s and p99 of each round, so that the spread is seen."""
    rows = _header(("stack", "load", "tx/s by round", "p99 ms by round"))
    for stack, phase in results.phases():
        rounds = results.of(stack, phase)
        rates = " / ".join(_number(m.per_s) for m in rounds)
        p99 = " / ".join(_number(latency_of(m.load, "p99")) for m in rounds)
        rows.append(f"| {stack} | {phase.name} | {rates} | {p99} |")
    return "\n".join(rows)


def noise_note(results: Results) -> str:
    """Return what a reader must know about other work on the machine during the run."""
    used = results.most_other_cores
    if used < QUIET_CORES:
        return f"Other processes used at most {used:.2f} cores during any window."
    return (
        f"NOISY RUN: other processes used up to {used:.2f} cores during a window, so rates are too low and latencies too "
        "high on both sides; CPU us/tx suffers least. Run it again on a quiet machine before quoting it."
    )


def summary(results: Results, *, is_stored: bool) -> dict[str, object]:
    """Return the figures of the last line; None where a phase was not run."""
    phase = OPEN_1000 if results.is_sustained(OURS, OPEN_1000) else OPEN_500
    single, plain = (results.median(stack, SINGLE, lambda m: m.per_s) for stack in (OURS, PLAIN))
    batch = results.median(OURS, BATCH, lambda m: m.per_s)
    measured = [m for stack, phase in results.phases() for m in results.of(stack, phase)]
    return {
        "single_per_s": _rounded(single, 1),
        "plain_single_per_s": _rounded(plain, 1),
        "batch100_tx_per_s": _rounded(batch, 1),
        "p50_ms": _rounded(results.median(OURS, phase, lambda m: latency_of(m.load, "p50")), 3),
        "p99_ms": _rounded(results.median(OURS, phase, lambda m: latency_of(m.load, "p99")), 3),
        "open_loop_rate": phase.rate_per_s,
        "open_loop_sustained": results.is_sustained(OURS, phase),
        "single_over_plain": _rounded(single / plain, 2) if single is not None and plain else None,
        "failures": sum(m.load.failures for m in measured),
        "all_acknowledged_stored": is_stored,
        "most_other_cores": _rounded(results.most_other_cores, 2),
    }


def latency_of(load: LoadResult, name: str) -> float:
    """Return one latency figure, milliseconds; infinite where nothing was answered."""
    return getattr(load.latency_ms, name) if load.latency_ms is not None else float("inf")


def _header(names: tuple[str, ...]) -> list[str]:
    return ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]


def _ms(results: Results, stack: str, phase: Phase, name: str) -> str:
    return _number(results.median(stack, phase, lambda m: latency_of(m.load, name)))


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
