"""Tables and the last line of `make bench-serving`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median

from tests.benchmarks.serving.generator import Latency, LoadResult
from tests.benchmarks.serving.measure import (
    AFTER_TIMES_PEAK,
    DEADLINE_MS,
    OVERLOAD_CONNECTIONS,
    RECOVERED_MS,
    TIMES_PEAK,
    Measurement,
    Phase,
    recovery_s,
)

# The kernel's own threads and an idle system stay below this.
QUIET_CORES = 0.2
PLAIN = "plain"
FAST, DRF, OVERLOADED = "fast lane", "DRF door", "fast lane, deadline 100 ms"
SQLITE, POSTGRES = "SQLite", "PostgreSQL"
SINGLE = Phase("single, closed loop")
BATCH = Phase("batch of 100, closed loop", batch=100, connections=4)
BATCH_1000 = Phase("batch of 1,000, closed loop", batch=1_000, connections=4)
OVERLOAD = Phase("5x overload", connections=OVERLOAD_CONNECTIONS, is_overload=True)
# Figures whose names in the last line are made from a rate in the open loop.
OPEN_RATES = {"1k": 1_000, "5k": 5_000, "10k": 10_000}


def named(kind: str, database: str) -> str:
    """Return a stack's name in the tables."""
    return f"{kind}, {database}"


def open_loop(rate_per_s: int, seconds: float | None = None) -> Phase:
    """Return single requests that are due at random moments, so many a second."""
    # More connections than are ever in use at once where the server keeps up.
    connections = 64 if rate_per_s <= 1_000 else 256
    return Phase(f"single, open loop {rate_per_s:,}/s", connections=connections, rate_per_s=rate_per_s, seconds=seconds)


class Results:
    """All measured phases of all rounds, probes left out."""

    def __init__(self, measurements: Iterable[Measurement]) -> None:
        self._all = list(measurements)

    def of(self, stack: str, phase: Phase) -> list[Measurement]:
        """Return the rounds of one phase, which is known by its name."""
        return [m for m in self._all if m.stack == stack and m.phase.name == phase.name]

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

    def closed_loop_failures(self) -> int:
        """Return how many requests to ours failed although the server was offered no more than it took."""
        # With the overload's deadline a stall of the disk is a refusal already.
        usual = [m for m in self._all if m.stack != PLAIN and not m.stack.startswith(OVERLOADED)]
        closed = [m for m in usual if not m.phase.rate_per_s]
        return sum(m.load.failures for m in closed)

    def failures(self) -> int:
        """Return how many requests failed, other than in an overload, where refusals are the point."""
        return sum(m.load.failures for m in self._all if not m.phase.is_overload)

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
        + ("server CPU us/tx", "PostgreSQL CPU us/tx", "others' cores", "failures")
    )
    for stack, phase in results.phases():
        if phase.is_overload:
            continue
        latencies = [_ms(results, stack, phase, name) for name in ("p50", "p90", "p99", "p99_9", "max")]
        rate = _number(results.median(stack, phase, lambda m: m.per_s))
        if phase.rate_per_s and not results.is_sustained(stack, phase):
            rate += " (not sustained)"
        cpu = _number(results.median(stack, phase, lambda m: m.cpu_us))
        database = _number(results.median(stack, phase, lambda m: m.database_cpu_us))
        others = " / ".join(f"{m.other_cores:.2f}" for m in results.of(stack, phase))
        failures = sum(m.load.failures for m in results.of(stack, phase))
        cells = [stack, phase.name, str(phase.connections), rate, *latencies, cpu, database, others, str(failures)]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def rounds_table(results: Results) -> str:
    """Return a Markdown table of transactions/s and p99 of each round, so that the spread is seen."""
    rows = _header(("stack", "load", "tx/s by round", "p99 ms by round"))
    for stack, phase in results.phases():
        rounds = results.of(stack, phase)
        if phase.is_overload:
            continue
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


def overload_table(results: Results) -> str:
    """Return a Markdown table, a row for each overload, and how to read it; empty where none was run."""
    rows = _header(
        ("stack", "peak/s, closed loop", "offered/s", "answered/s", "200/s", "goodput / peak", "200: p50 ms", "200: p99 ms")
        + ("200: p99 ms since due", "send delay p99 ms", "refused: p99 ms", "never sent", "lost", "recovery s")
    )
    measured = [m for stack, phase in results.phases() if phase.is_overload for m in results.of(stack, phase)]
    for m in measured:
        load, peak = m.load, results.median(m.stack, SINGLE, lambda m: m.goodput_per_s)
        back = recovery_s(load)
        cells = (
            *(_number(x) for x in (peak, load.offered_per_s, load.rate_per_s, m.goodput_per_s)),
            _number(m.goodput_per_s / peak if peak else None),
            *(_number(_of(latency, name)) for latency, name in (
                (load.ok_service_ms, "p50"), (load.ok_service_ms, "p99"), (load.ok_latency_ms, "p99"),
                (load.send_delay_ms, "p99"), (load.refused_service_ms, "p99"),
            )),
            f"{load.abandoned + load.unsent:,}", f"{_lost(m):,}", "not within the run" if back is None else f"{back:.1f}",
        )  # fmt: skip
        rows.append("| " + " | ".join((m.stack, *cells)) + " |")
    connections = max((m.load.connections for m in measured), default=0)
    note = (
        f"Overload: {TIMES_PEAK:g} times what a closed loop did just before is offered in the open loop over {connections:,} "
        "connections; the peak is the mean of that closed loop and one just after. The overload goes to a "
        f"server with a deadline of {DEADLINE_MS} ms; a request that finds no free connection for that long is never sent. Times "
        "count from the hand-over to a connection; the send delay is the generator's own wait before it. Then the load drops to "
        f"{AFTER_TIMES_PEAK:g} times the peak: recovery is the end of the first second without a refusal and with p99 below "
        f"{RECOVERED_MS:g} ms, counted from the drop (1.0 at least)."
    )
    return "\n".join([*rows, "", note]) if measured else ""


def summary(results: Results, *, is_stored: bool) -> dict[str, object]:
    """Return the figures of the last line; None where a phase was not run."""
    plain = results.median(PLAIN, SINGLE, lambda m: m.per_s)
    ours = _of_database(results, SQLITE, plain)
    first = open_loop(OPEN_RATES["1k"])
    stack = named(FAST, SQLITE)
    return {
        "single_per_s": ours["fast_per_s"],
        "plain_single_per_s": _rounded(plain, 1),
        "p50_ms": _rounded(results.median(stack, first, lambda m: latency_of(m.load, "p50")), 3),
        "p99_ms": ours["p99_ms_1k"],
        "open_loop_rate": first.rate_per_s,
        "open_loop_sustained": results.is_sustained(stack, first),
        "single_over_plain": ours["fast_over_plain"],
        "plain_per_s": _rounded(plain, 1),
        **ours,
        **{f"pg_{name}": figure for name, figure in _of_database(results, POSTGRES, plain).items()},
        "failures": results.failures(),
        "all_acknowledged_stored": is_stored,
        "most_other_cores": _rounded(results.most_other_cores, 2),
    }


def _of_database(results: Results, database: str, plain: float | None) -> dict[str, object]:
    """Return the figures of our stacks on one database; the plain stack is on SQLite for both."""
    fast_stack, overloaded = named(FAST, database), named(OVERLOADED, database)
    fast, drf = (results.median(stack, SINGLE, lambda m: m.per_s) for stack in (fast_stack, named(DRF, database)))
    figures: dict[str, object] = {
        "fast_per_s": _rounded(fast, 1),
        "drf_per_s": _rounded(drf, 1),
        "fast_over_plain": _ratio(fast, plain),
        "drf_over_plain": _ratio(drf, plain),
        "batch100_tx_per_s": _rounded(results.median(fast_stack, BATCH, lambda m: m.per_s), 1),
        "batch1000_tx_per_s": _rounded(results.median(fast_stack, BATCH_1000, lambda m: m.per_s), 1),
    }
    for short, rate in OPEN_RATES.items():
        phase = open_loop(rate)
        for key, name in (("p50_ms", "p50"), ("p99_ms", "p99"), ("p999_ms", "p99_9")):
            figures[f"{key}_{short}"] = _rounded(results.median(fast_stack, phase, lambda m, n=name: latency_of(m.load, n)), 3)
        figures[f"sustained_{short}"] = results.is_sustained(fast_stack, phase) if results.of(fast_stack, phase) else None
    peak = results.median(overloaded, SINGLE, lambda m: m.goodput_per_s)
    ratio = _ratio(results.median(overloaded, OVERLOAD, lambda m: m.goodput_per_s), peak)
    p99 = results.median(overloaded, OVERLOAD, lambda m: _of(m.load.ok_service_ms, "p99"))
    # The slowest of the rounds, None where one of them did not recover.
    back = [recovery_s(m.load) for m in results.of(overloaded, OVERLOAD)]
    slowest = max(back) if back and None not in back else None
    return figures | {"overload_goodput_ratio": ratio, "overload_p99_ms": _rounded(p99, 3), "recovery_s": slowest}


def _ratio(of: float | None, to: float | None) -> float | None:
    return round(of / to, 3) if of is not None and to else None


def _of(latency: Latency | None, name: str) -> float:
    return getattr(latency, name) if latency is not None else float("inf")


def _lost(m: Measurement) -> int:
    return m.load.disconnects + m.load.timeouts + m.load.malformed + m.load.unfinished


def latency_of(load: LoadResult, name: str) -> float:
    """Return one latency figure, milliseconds; infinite where nothing was answered."""
    return _of(load.latency_ms, name)


def _header(names: tuple[str, ...]) -> list[str]:
    return ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]


def _ms(results: Results, stack: str, phase: Phase, name: str) -> str:
    return _number(results.median(stack, phase, lambda m: latency_of(m.load, name)))


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None or value == float("inf") else round(value, digits)
