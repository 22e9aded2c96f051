"""Training of the learned policy in the simulator.

Every tuning serves whole runs of the same requests. Window by window its cost is set against that of the safe one on
the same requests, which takes most of the chance out of the difference; the difference is what the tuning's line learns.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from inference_core.scheduling import DynamicBatchConfig
from inference_core.scheduling.context import FEATURES
from inference_core.scheduling.learned import ARMS, Choice, LearnedConfig, LearnedPolicy
from inference_core.scheduling.linear_cost import LinearCost
from inference_core.scheduling.policy import Situation
from tests.benchmarks.scheduler.simulator import simulate
from tests.benchmarks.scheduler.world import Arrival, TrafficClass, World, arrivals, scheduler_of


class Committed(LearnedPolicy):
    """Keeps to one tuning, to see what it costs."""

    def __init__(self, arm: int, config: LearnedConfig) -> None:
        super().__init__(config=config)
        self.log = deque()
        self._committed = arm

    def _pick(self, situation: Situation, context: tuple[float, ...]) -> tuple[int, float]:
        return self._committed, 1.0

    def _watch(self, regret: float, situation: Situation) -> None:
        """Never switched off: it is here to learn from bad choices too."""


def train(
    world: World,
    classes: Sequence[TrafficClass],
    seeds: Sequence[int],
    length_us: float,
    config: DynamicBatchConfig,
    learning: LearnedConfig,
) -> LearnedPolicy:
    """Return a policy that has learned from runs of every tuning in every class, with these seeds."""
    models = [LinearCost(len(FEATURES), forgetting=1.0) for _ in ARMS]
    for seed in seeds:
        for of in classes:
            requests = arrivals(of, world.capacity(config), length_us, seed)
            slowed = world.slowed(of)
            safe = _windows(slowed, requests, config, learning, 0, seed, length_us)
            usual = sum(math.exp(2.0 * choice.cost) for choice in safe.values()) / max(1, len(safe))
            for choice in safe.values():
                models[0].learn(choice.context, choice.cost)
            for arm, tuning in enumerate(ARMS):
                if not arm or (tuning.low_units and not of.bulk) or (tuning.wait_share and not config.max_queue_delay_us):
                    continue
                for number, choice in _windows(slowed, requests, config, learning, arm, seed, length_us).items():
                    if number in safe:
                        over_safe = choice.cost - safe[number].cost
                        # The situation is once as the safe tuning left it, once as the tuning itself did: both will be met.
                        weight = _weight(max(choice.cost, safe[number].cost), usual)
                        models[arm].learn(safe[number].context, over_safe, weight)
                        models[arm].learn(choice.context, over_safe, weight)
    return LearnedPolicy(models, learning)


def _windows(
    world: World,
    requests: Sequence[Arrival],
    config: DynamicBatchConfig,
    learning: LearnedConfig,
    arm: int,
    seed: int,
    length_us: float,
) -> dict[int, Choice]:
    policy = Committed(arm, learning)
    simulate(scheduler_of(world, config, policy), requests, world.timer(seed, length_us))
    return {choice.window: choice for choice in policy.log if math.isfinite(choice.cost)}


def _weight(cost: float, usual: float) -> float:
    """Return how much a window counts: by the square of its cost, so that the tail of the whole run is what is learned."""
    return min(10.0, max(0.01, math.exp(2.0 * cost) / usual))
