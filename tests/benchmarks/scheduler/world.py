"""The simulated machine: what batches truly take, which the scheduler does not know, and requests in time order."""

from __future__ import annotations

import itertools
import math
import random
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from inference_core.runtime.cost import CostLine
from inference_core.scheduling import CostModel, DynamicBatchConfig, Policy, Scheduler


@dataclass(frozen=True)
class Jitter:
    """How the time of a batch strays from its line. It is a property of the moment and not of the batch, so that two policies
    on the same seed meet the same moments (common random numbers).

    Attributes:
        sigma: of the logarithm of a factor that holds for `slot_us`.
        pause_every_us, pause_us: means of the time between two pauses of a unit (host, driver, collector) and of their length:
            the batch that runs then ends so much later. Both are exponential.
    """

    sigma: float = 0.10
    slot_us: float = 250.0
    pause_every_us: float = 25_000.0
    pause_us: float = 400.0

    def moments(self, seed: str, length_us: float) -> tuple[list[float], list[tuple[float, float]]]:
        """Return the sums of the factors up to each slot, and (when, how long) of each pause."""
        source = random.Random(seed)
        slots = int(length_us / self.slot_us) + 1
        factors = [0.0, *itertools.accumulate(math.exp(source.gauss(0.0, self.sigma)) for _ in range(slots))]
        pauses, when = [], source.expovariate(1.0 / self.pause_every_us)
        while when < length_us:
            pauses.append((when, source.expovariate(1.0 / self.pause_us)))
            when += source.expovariate(1.0 / self.pause_every_us)
        return factors, pauses


@dataclass(frozen=True)
class Slowdown:
    """A unit takes `factor` times as long from `begin` to `end`, both in parts of the run."""

    unit: str
    begin: float
    end: float
    factor: float


@dataclass(frozen=True)
class World:
    """Attributes:
    lines: (unit, variant) -> what a batch takes on the whole.
    jitter: how it strays.
    slowdowns: what goes wrong during the run.
    spare: a unit that is kept for bursts.
    """

    lines: dict[tuple[str, str], CostLine]
    jitter: Jitter = field(default_factory=Jitter)
    slowdowns: tuple[Slowdown, ...] = ()
    spare: str | None = None

    def capacity(self, config: DynamicBatchConfig, variant: str = "full") -> float:
        """Return the rows a microsecond that all units but the spare one do in batches that take the target."""
        rate = 0.0
        for (unit, of), line in self.lines.items():
            if of == variant and unit != self.spare:
                batch = max(1.0, min((config.target_us - line.fixed_us) / line.row_us, config.max_batch_size))
                rate += batch / line.at(batch)
        return rate

    def slowed(self, of: TrafficClass) -> World:
        """Return this world with what goes wrong in a class of traffic."""
        return replace(self, slowdowns=of.slowdowns)

    def timer(self, seed: int, length_us: float) -> Callable[[str, str, int, float], float]:
        """Return a function (unit, variant, rows, now) -> microseconds; each unit has moments of its own."""
        slot, lines = self.jitter.slot_us, self.lines
        moments = {unit: self.jitter.moments(f"{seed} {unit}", 2.0 * length_us + 1e6) for unit, _ in lines}
        starts = {unit: [when for when, _ in pauses] for unit, (_, pauses) in moments.items()}
        slow = {
            unit: [(of.begin * length_us, of.end * length_us, of.factor) for of in self.slowdowns if of.unit == unit]
            for unit, _ in lines
        }

        def took(unit: str, variant: str, rows: int, now: float) -> float:
            factors, pauses = moments[unit]
            us = lines[unit, variant].at(rows)
            first, last = int(now / slot), int((now + us) / slot) + 1
            us *= (factors[last] - factors[first]) / (last - first)
            for begin, end, factor in slow[unit]:
                if begin <= now < end:
                    us *= factor
            at = bisect_left(starts[unit], now)
            while at < len(pauses) and pauses[at][0] < now + us:
                us += pauses[at][1]
                at += 1
            return us

        return took


def scheduler_of(world: World, config: DynamicBatchConfig, policy: Policy | None = None) -> Scheduler:
    """Return a scheduler that starts from the true lines, as one does from measured ones."""
    costs = CostModel((unit, variant, line) for (unit, variant), line in world.lines.items())
    return Scheduler(config, costs, policy, world.spare)


# --- traffic -----------------------------------------------------------------------------------------------------------

# (when, class, rows); a class is a Priority.
Arrival = tuple[float, int, int]


@dataclass(frozen=True)
class TrafficClass:
    """A kind of load, in parts of the capacity of the units, so that it means the same on any machine.

    Attributes:
        levels: rates of single LIVE requests; one is steady, several follow each other at random (a Markov-modulated Poisson
            process) unless `spikes`.
        dwell_us: mean time at a level.
        spikes: the levels are (usual, spike): a spike of dwell_us comes once in `every_us`, at a random time.
        bulk: rate of rows in calls of the batch endpoint.
        slowdowns: what goes wrong beside it.
        inside_capacity: whether the load on the whole and over a deadline is below the capacity, so that deadlines must hold.
    """

    name: str
    levels: tuple[float, ...]
    dwell_us: float = 15_000.0
    spikes: bool = False
    every_us: float = 80_000.0
    bulk: float = 0.0
    slowdowns: tuple[Slowdown, ...] = ()
    inside_capacity: bool = True


BULK_ROWS = 100
CLASSES = (
    TrafficClass("steady low", (0.02,)),
    TrafficClass("steady mid", (0.40,)),
    TrafficClass("near capacity", (0.88,)),
    TrafficClass("bursty", (0.05, 0.5, 1.2)),
    TrafficClass("flash crowd", (0.1, 1.8), dwell_us=10_000.0, spikes=True),
    TrafficClass("live and bulk", (0.15,), bulk=0.5),
)
MISSPECIFIED = (
    TrafficClass("accelerator slowed 3x", (0.35,), slowdowns=(Slowdown("cuda:0", 0.4, 0.8, 3.0),)),
    TrafficClass("processor stolen", (0.35,), slowdowns=tuple(Slowdown("cpu:0", k / 5, k / 5 + 0.05, 4.0) for k in range(1, 5))),
)


def arrivals(of: TrafficClass, capacity_per_us: float, length_us: float, seed: int) -> list[Arrival]:
    """Return the requests of a run, in time order; the same for the same seed."""
    source = random.Random(f"{of.name} {seed}")
    singles = [(when, 0, 1) for when in _modulated(of, capacity_per_us, length_us, source)]
    if not of.bulk:
        return singles
    rate = of.bulk * capacity_per_us / BULK_ROWS
    bulk, when = [], source.expovariate(rate)
    while when < length_us:
        bulk.append((when, 1, BULK_ROWS))
        when += source.expovariate(rate)
    return sorted(singles + bulk)


def _modulated(of: TrafficClass, capacity: float, length_us: float, source: random.Random) -> list[float]:
    times: list[float] = []
    for begin, end, level in _phases(of, length_us, source):
        rate = level * capacity
        when = begin + source.expovariate(rate)
        while when < end:
            times.append(when)
            when += source.expovariate(rate)
    return times


def _phases(of: TrafficClass, length_us: float, source: random.Random) -> list[tuple[float, float, float]]:
    phases, now = [], 0.0
    while now < length_us:
        if of.spikes:
            quiet = source.uniform(0.5, 1.5) * (of.every_us - of.dwell_us)
            phases += [(now, now + quiet, of.levels[0]), (now + quiet, now + quiet + of.dwell_us, of.levels[1])]
        elif len(of.levels) == 1:
            phases.append((now, length_us, of.levels[0]))
        else:
            phases.append((now, now + source.expovariate(1.0 / of.dwell_us), source.choice(of.levels)))
        now = phases[-1][1]
    return [(begin, min(end, length_us), level) for begin, end, level in phases if begin < length_us]
