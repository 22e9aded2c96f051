"""The scheduler's benchmark: policies of this project and of others on the same requests, in a simulator with measured costs.

Hyper-parameters and the policy's training use validation seeds; the report uses test seeds, which nothing was chosen on, except
the best fixed rule, which is chosen in hindsight on purpose.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from inference_core.runtime.cost import CostLine
from inference_core.scheduling import DynamicBatchConfig, ExpectedCompletion, Policy, Priority, Tuning
from inference_core.scheduling.context import ContextReader
from inference_core.scheduling.learned import ARMS, SAFE, LearnedConfig, LearnedPolicy
from tests.benchmarks.scheduler.baselines import Aimd, BentoMl, FixedBatch, Greedy, OneByOne, Triton
from tests.benchmarks.scheduler.judge import paired
from tests.benchmarks.scheduler.measured import ROW_BYTES, Costs, measure_costs
from tests.benchmarks.scheduler.simulator import Run, percentile, simulate
from tests.benchmarks.scheduler.train import Committed, train
from tests.benchmarks.scheduler.world import CLASSES, MISSPECIFIED, Arrival, TrafficClass, World, arrivals, scheduler_of

CONFIG = DynamicBatchConfig(target_latency_ms=5.0, max_batch_size=1024)
TRAINING_SEEDS = range(100, 103)
TEST_SEEDS = range(4_000, 4_010)
LENGTH_US = 500_000.0
ECT, LEARNED, SAFE_NAME = "ECT", "learned", "safe choice alone"
# Compared with the learned policy and ECT: cost is what judges, the others are told.
JUDGED = ("p99_us", "mean_us", "miss_rate")
# What a decision is taken to cost, in the simulation; measure_decision tells what it does.
DECISION_US = 5.0
Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """Attributes:
    engine: what the engine around the program costs a batch and a row.
    seeds: how many test seeds.
    length_us: simulated time of a run.
    """

    engine: CostLine
    seeds: int = len(TEST_SEEDS)
    length_us: float = LENGTH_US


def measure(options: Options, say: Say) -> dict[str, Any]:
    """Run the whole benchmark and return its document."""
    began = time.process_time()
    costs = measure_costs()
    world = World(costs.lines(options.engine))
    decision = measure_decision(world)
    say(f"costs measured; a decision costs {decision} us; capacity {world.capacity(CONFIG) * 1e6:,.0f} rows/s")
    learning = LearnedConfig()
    trained = train(world, CLASSES, TRAINING_SEEDS, options.length_us, CONFIG, learning).to_json()
    say("trained")
    policies = _policies(trained, learning, costs)
    classes = {}
    for of in (*CLASSES, *MISSPECIFIED):
        classes[of.name] = _class(of, world, policies, options)
        say(f"{of.name}: {_line(classes[of.name])}")
    throughput = _throughput(world, policies[LEARNED], options.length_us / 4)
    say(f"throughput: {throughput}")
    burst = _burst(world, options)
    say(f"spare unit: {burst}")
    return {
        "costs": {name: asdict(line) if isinstance(line, CostLine) else line for name, line in vars(costs).items()},
        "engine": asdict(options.engine),
        "decision_us": decision,
        "config": {"target_latency_ms": CONFIG.target_latency_ms, "max_batch_size": CONFIG.max_batch_size,
                   "deadlines_ms": {of.name: CONFIG.deadlines_ms[of] for of in Priority}},
        "capacity_per_s": world.capacity(CONFIG) * 1e6,
        "seeds": options.seeds,
        "length_ms": options.length_us / 1000,
        "tunings": [asdict(arm) for arm in ARMS],
        "classes": classes,
        "throughput": throughput,
        "burst": burst,
        "cpu_s": round(time.process_time() - began, 1),
        "trained": trained,
    }  # fmt: skip


def summary(document: dict[str, Any]) -> dict[str, Any]:
    """Return the last line."""
    classes = document["classes"]
    inside = [of.name for of in (*CLASSES, *MISSPECIFIED) if of.inside_capacity and of.name in classes]
    return {
        "worse_than_ect_classes": sum(_is_worse(of) for of in classes.values()),
        "better_than_ect_classes": sum(classes[of.name]["learned_against_ect"]["p99_us"]["better"] for of in CLASSES),
        "miss_rate": max(classes[name]["policies"][LEARNED]["miss_rate"] for name in inside),
        "throughput_ratio": round(document["throughput"]["ratio"], 2),
        "takeover_ms": round(document["burst"]["takeover_max_us"] / 1000, 2),
        "seeds": document["seeds"],
        "cpu_s": document["cpu_s"],
    }


def _is_worse(of: dict[str, Any]) -> bool:
    return any(of["learned_against_ect"][measure]["worse"] for measure in JUDGED)


def _policies(trained: dict[str, Any], learning: LearnedConfig, costs: Costs) -> dict[str, Callable[[int], Policy]]:
    return {
        LEARNED: lambda seed: LearnedPolicy.from_json(
            trained, learning, seed, ContextReader(ROW_BYTES, costs.memory_bytes_per_us)
        ),
        ECT: lambda seed: ExpectedCompletion(),
        SAFE_NAME: lambda seed: Committed(0, learning),
        "ECT, gap only": lambda seed: ExpectedCompletion(Tuning(spill=0.0)),
        "Triton's rule": lambda seed: Triton(256, 500.0, (64, 128)),
        "Clipper's AIMD": lambda seed: Aimd(),
        "BentoML's rule": lambda seed: BentoMl(),
        "greedy CPU": lambda seed: Greedy("cpu:0"),
        "greedy accelerator": lambda seed: Greedy("cuda:0"),
        "one by one": lambda seed: OneByOne(),
    }


def _fixed_grid() -> Iterable[Callable[[int], Policy]]:
    for unit in (None, "cpu:0", "cuda:0"):
        for batch in (16, 64, 256):
            for wait_us in (0.0, 200.0, 1_000.0):
                yield lambda seed, batch=batch, wait_us=wait_us, unit=unit: FixedBatch(batch, wait_us, unit)


def _class(
    of: TrafficClass, world: World, policies: dict[str, Callable[[int], Policy]], options: Options
) -> dict[str, Any]:
    slowed, capacity = world.slowed(of), world.capacity(CONFIG)
    seeds = TEST_SEEDS[: options.seeds]
    requests = {seed: arrivals(of, capacity, options.length_us, seed) for seed in seeds}

    def figures(make: Callable[[int], Policy], seeds: Iterable[int]) -> list[dict[str, float]]:
        return [run_once(slowed, make(seed), requests[seed], seed, options.length_us).figures for seed in seeds]

    few = seeds[:2]
    best = min(_fixed_grid(), key=lambda make: statistics.fmean(_cost(of) for of in figures(make, few)))
    runs = {name: figures(make, seeds) for name, make in policies.items()}
    runs["best fixed in hindsight"] = figures(best, seeds)

    def against(reference: str) -> dict[str, Any]:
        return {
            measure: _told(paired([run[measure] for run in runs[LEARNED]], [run[measure] for run in runs[reference]]))
            for measure in JUDGED
        }

    return {
        "best_fixed": best(0).name,
        "policies": {
            name: {measure: statistics.fmean(run[measure] for run in of_policy) for measure in of_policy[0]}
            for name, of_policy in runs.items()
        },
        "learned_against_ect": against(ECT),
        "learned_against_safe": against(SAFE_NAME),
        "p99_against_ect": {
            name: _told(paired([run["p99_us"] for run in of_policy], [run["p99_us"] for run in runs[ECT]]))
            for name, of_policy in runs.items()
            if name != ECT
        },
    }


def _cost(figures: dict[str, float]) -> float:
    # What a policy never answered has no latency: each percent that it misses costs a whole deadline.
    return figures["p99_us"] + figures["miss_rate"] * 100 * CONFIG.deadline_us(Priority.LIVE)


def _told(difference) -> dict[str, Any]:
    return asdict(difference) | {"better": difference.better, "worse": difference.worse}


def _line(of: dict[str, Any]) -> str:
    p99 = of["learned_against_ect"]["p99_us"]
    ect, learned = of["policies"][ECT]["p99_us"], of["policies"][LEARNED]["p99_us"]
    return f"p99 {learned:.0f} us, ECT {ect:.0f}, difference {p99['mean']:+.0f} ({p99['low']:+.0f} to {p99['high']:+.0f})"


def run_once(world: World, policy: Policy, requests: list[Arrival], seed: int, length_us: float) -> Run:
    """Simulate one run."""
    return simulate(scheduler_of(world, CONFIG, policy), requests, world.timer(seed, length_us), DECISION_US)


def measure_decision(world: World, batches: int = 4_000) -> dict[str, float]:
    """Return the processor's microseconds of admit, next, start and completed, each, with two units and two variants."""
    of, now = scheduler_of(world, CONFIG, ExpectedCompletion(SAFE)), 0.0
    spent = dict.fromkeys(("admit", "next", "start", "completed"), 0)
    clock = time.thread_time_ns

    def timed(name: str, call: Callable, *arguments: Any) -> Any:
        began = clock()
        answer = call(*arguments)
        spent[name] += clock() - began
        return answer

    for _ in range(batches):
        timed("admit", of.admit, 0, 1, now + 1e5, now)
        of.queue.put(0, None, 1, now, now + 1e5)
        dispatch = timed("next", of.next, now)
        timed("start", of.start, dispatch, now)
        timed("completed", of.completed, dispatch, now, now + 50.0)
        now += 100.0
    return {name: round(ns / batches / 1_000, 2) for name, ns in spent.items()}


# --- throughput at the same p99 ------------------------------------------------------------------------------------------


def _throughput(world: World, learned: Callable[[int], Policy], length_us: float) -> dict[str, Any]:
    """Return the highest steady rate of single requests at which p99 keeps within the target and nothing is missed."""
    found = {}
    for units in (("cpu:0", "cuda:0"), ("cpu:0",)):
        part = World({key: line for key, line in world.lines.items() if key[0] in units})
        name = " and ".join(units)
        one, batched = (_highest_rate(part, make, length_us) for make in (lambda seed: OneByOne(), learned))
        found[name] = {"one_by_one_per_s": one * 1e6, "learned_per_s": batched * 1e6, "ratio": batched / one}
    return {"by_units": found, "ratio": min(of["ratio"] for of in found.values())}


def _highest_rate(world: World, make: Callable[[int], Policy], length_us: float) -> float:
    capacity = world.capacity(CONFIG)
    low, high = 0.0, 1.2
    for _ in range(7):
        level = (low + high) / 2
        of = TrafficClass(f"steady {level:.4f}", (level,))
        runs = [
            run_once(world, make(seed), arrivals(of, capacity, length_us, seed), seed, length_us).figures
            for seed in TEST_SEEDS[:2]
        ]
        if all(run["p99_us"] <= CONFIG.target_us and run["miss_rate"] <= 0.001 for run in runs):
            low = level
        else:
            high = level
    return low * capacity


# --- the spare unit ------------------------------------------------------------------------------------------------------


def _burst(world: World, options: Options) -> dict[str, Any]:
    """Return how soon a spare unit takes a burst, and what it does for the latencies, in the flash crowd."""
    of = next(of for of in CLASSES if of.name == "flash crowd")
    capacity = world.capacity(CONFIG)
    spare = {("cpu:1", variant): world.lines["cpu:0", variant] for variant in ("full", "reduced")}
    with_spare = World({**world.lines, **spare}, spare="cpu:1")
    takeovers, p99 = [], {"without": [], "with": []}
    for seed in TEST_SEEDS[: min(options.seeds, 5)]:
        requests = arrivals(of, capacity, options.length_us, seed)
        for name, one in (("without", world), ("with", with_spare)):
            run = run_once(one, ExpectedCompletion(), requests, seed, options.length_us)
            p99[name].append(run.figures["p99_us"])
            takeovers += run.takeover_us
    ascending = sorted(takeovers)
    return {
        "batches": len(ascending),
        "takeover_p50_us": percentile(ascending, 0.5),
        "takeover_p99_us": percentile(ascending, 0.99),
        "takeover_max_us": ascending[-1],
        "p99_us_without": statistics.fmean(p99["without"]),
        "p99_us_with": statistics.fmean(p99["with"]),
    }
