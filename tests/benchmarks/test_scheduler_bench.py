"""The scheduler's benchmark: the same requests and moments for all, every row accounted for, verdicts by their interval."""

import json
import math
import random

import pytest

from inference_core.runtime.cost import CostLine
from inference_core.scheduling import DynamicBatchConfig, ExpectedCompletion, Priority
from inference_core.scheduling.context import FEATURES
from inference_core.scheduling.learned import ARMS, LearnedConfig
from tests.benchmarks.scheduler.baselines import Aimd, BentoMl, FixedBatch, Greedy, OneByOne, Triton
from tests.benchmarks.scheduler.judge import paired
from tests.benchmarks.scheduler.measured import GPU_FIGURES, gpu_line
from tests.benchmarks.scheduler.simulator import percentile, simulate
from tests.benchmarks.scheduler.train import train
from tests.benchmarks.scheduler.world import CLASSES, MISSPECIFIED, Jitter, Slowdown, World, arrivals, scheduler_of

CONFIG = DynamicBatchConfig()
WORLD = World({("cpu:0", "full"): CostLine("full", 40.0, 8.0), ("cuda:0", "full"): CostLine("full", 50.0, 7.2)})
EXACT = World(WORLD.lines, Jitter(0.0, pause_every_us=1e12))
LENGTH_US = 60_000.0
EVERY_CLASS = pytest.mark.parametrize("of", (*CLASSES, *MISSPECIFIED), ids=lambda of: of.name)


@EVERY_CLASS
def test_requests_are_in_order_the_same_for_a_seed_and_of_the_rate_that_was_asked_for(of):
    first, again, other = (arrivals(of, 0.25, 1e6, seed) for seed in (1, 1, 2))
    assert first == again != other
    times = [when for when, *_ in first]
    assert times == sorted(times) and 0 <= times[0] and times[-1] < 1e6
    load = sum(rows for *_, rows in first) / 1e6 / 0.25
    if of.spikes:
        share = of.dwell_us / of.every_us
        expected = of.levels[0] * (1 - share) + of.levels[1] * share
    else:
        expected = sum(of.levels) / len(of.levels) + of.bulk
    assert load == pytest.approx(expected, rel=0.35 if len(of.levels) > 1 else 0.05)


@EVERY_CLASS
@pytest.mark.parametrize(
    "policy",
    [
        ExpectedCompletion, lambda: FixedBatch(64, 500.0), lambda: FixedBatch(16, 100.0, "cuda:0"),
        lambda: Triton(256, 500.0, (64, 128)), Aimd, BentoMl, lambda: Greedy("cpu:0"), OneByOne,
    ],
    ids=["ect", "fixed", "fixed on one", "triton", "aimd", "bentoml", "greedy", "one by one"],
)  # fmt: skip
def test_every_policy_accounts_for_every_row(of, policy):
    world = WORLD.slowed(of)
    requests = arrivals(of, world.capacity(CONFIG), LENGTH_US, 3)
    run = simulate(scheduler_of(world, CONFIG, policy()), requests, world.timer(3, LENGTH_US))
    answered = len(run.live_us) + 100 * len(run.bulk_us)
    assert run.offered == sum(rows for *_, rows in requests)
    assert answered + run.missed >= run.offered >= answered + run.refused
    assert min(run.live_us) >= 40.0 * math.exp(-1.0)
    assert run.figures["p50_us"] <= run.figures["p99_us"] <= run.figures["p999_us"]


def test_simulated_time_is_the_time_of_the_queue_in_the_textbook():
    """One unit, one row at a time, exact service of 50 us, half loaded: M/D/1 waits rho s / (2 (1 - rho)) = 25 us."""
    world = World({("cpu:0", "full"): CostLine("full", 50.0, 0.0)}, Jitter(0.0, pause_every_us=1e12))
    source, now, requests = random.Random(1), 0.0, []
    for _ in range(30_000):
        now += source.expovariate(1.0 / 100.0)
        requests.append((now, 0, 1))
    run = simulate(scheduler_of(world, CONFIG, OneByOne()), requests, world.timer(1, now))
    assert run.figures["mean_us"] == pytest.approx(75.0, rel=0.04)
    assert run.device_us == pytest.approx(30_000 * 50.0)


def test_moments_are_the_same_for_every_policy_and_differ_between_units():
    one, again = WORLD.timer(5, LENGTH_US), WORLD.timer(5, LENGTH_US)
    times = [k * 777.0 for k in range(60)]
    assert [one("cpu:0", "full", 9, now) for now in times] == [again("cpu:0", "full", 9, now) for now in reversed(times)][::-1]
    ratios = {round(one("cpu:0", "full", 9, now) / 112 - one("cuda:0", "full", 9, now) / 114.8, 6) for now in times}
    assert len(ratios) > 30


def test_slowed_unit_takes_longer_while_it_is_slowed():
    world = World(EXACT.lines, EXACT.jitter, (Slowdown("cuda:0", 0.4, 0.8, 3.0),))
    took = world.timer(1, 1_000.0)
    assert [took("cuda:0", "full", 10, now) for now in (0.0, 400.0, 800.0)] == pytest.approx([122.0, 366.0, 122.0])
    assert took("cpu:0", "full", 10, 400.0) == pytest.approx(120.0)


def test_pause_delays_the_batch_that_runs():
    world = World(EXACT.lines, Jitter(0.0, pause_every_us=20_000.0, pause_us=300.0))
    took = world.timer(1, 10e6)
    delays = [took("cpu:0", "full", 1, now) - 48.0 for now in range(0, 10_000_000, 48)]
    hit = [delay for delay in delays if delay > 1e-6]
    assert len(hit) / len(delays) == pytest.approx(48 / 20_000, rel=0.2)
    assert sum(hit) / len(hit) == pytest.approx(300, rel=0.2)


def test_verdict_needs_a_difference_beyond_its_interval():
    assert paired([10.0, 11.0, 12.0, 13.0], [9.0, 10.5, 10.5, 12.0]).worse
    assert paired([9.0, 10.5, 10.5, 12.0], [10.0, 11.0, 12.0, 13.0]).better
    same = paired([1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 4.0, 3.0])
    assert not same.worse and not same.better
    # Student's interval of four differences with mean 1 and deviation 1: 3.182 / 2.
    of = paired([0.0, 1.0, 1.0, 2.0 + 0.0], [0.0, 0.0, 0.0, 0.0])
    assert (of.mean, of.high - of.mean) == (1.0, pytest.approx(3.182 * math.sqrt(2 / 3) / 2))


def test_percentile_is_a_value_that_was_seen():
    values = [float(k) for k in range(1, 101)]
    assert [percentile(values, share) for share in (0.01, 0.5, 0.99, 1.0)] == [1.0, 50.0, 99.0, 100.0]
    assert math.isnan(percentile([], 0.5))


def test_accelerator_s_line_comes_from_the_published_figures():
    benchmark = json.loads(GPU_FIGURES.read_text())["forest"]
    line = gpu_line(benchmark)
    assert line.at(1) == pytest.approx(benchmark["one_row"]["python_function"]["p50_us"], rel=0.5)
    assert line.at(10_000) < 5 * line.at(1_000)


def test_training_fills_every_line_that_can_serve_and_repeats_itself():
    classes = [of for of in CLASSES if of.name in ("near capacity", "live and bulk")]
    first, again = (train(WORLD, classes, (100,), LENGTH_US, CONFIG, LearnedConfig()) for _ in range(2))
    assert first.to_json() == again.to_json()
    assert [model.seen > 0 for model in first.models] == [not arm.wait_share for arm in ARMS]
    assert len(first.to_json()["features"]) == len(FEATURES)


def test_live_deadline_is_the_one_that_counts_as_a_miss():
    config = DynamicBatchConfig(deadlines_ms={Priority.LIVE: 5.0})
    requests = [(0.0, 0, 1)] * 2_000
    run = simulate(scheduler_of(EXACT, config, OneByOne()), requests, EXACT.timer(1, LENGTH_US))
    assert run.missed > 0 and max(run.live_us) <= 5_100.0
