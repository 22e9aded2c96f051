"""When fraud happens: how many incidents of each typology begin, and when."""

import numpy as np

from scoring.ingest.columns import DAY
from scoring.simulator.block import Block, join
from scoring.simulator.config import TYPOLOGIES, SimulationConfig
from scoring.simulator.fraud import (
    account_takeover,
    card_testing,
    compromised_merchant,
    mule_account,
    stolen_card,
    structuring,
)
from scoring.simulator.fraud.scenario import Scenario
from scoring.simulator.world import World

SCENARIOS: tuple[Scenario, ...] = (
    card_testing.SCENARIO,
    account_takeover.SCENARIO,
    stolen_card.SCENARIO,
    compromised_merchant.SCENARIO,
    mule_account.SCENARIO,
    structuring.SCENARIO,
)


def fraud_payments(world: World, history: Block, streams: list[np.random.Generator]) -> Block:
    """All fraudulent payments; `history` is the honest ones in order of time.

    Each scenario draws from its own stream, so that a wave of one leaves the others as they were.
    """
    blocks = []
    incidents = 0
    for scenario, rng in zip(SCENARIOS, streams, strict=True):
        for start in _starts(scenario, world.config, len(history), rng):
            block = scenario.make(world, history, int(start), rng)
            block.typology = np.full(len(block), 1 + TYPOLOGIES.index(scenario.typology), dtype=np.int8)
            block.incident = np.full(len(block), incidents, dtype=np.int32)
            incidents += 1
            blocks.append(block)
    return join(blocks)


def _starts(scenario: Scenario, config: SimulationConfig, honest: int, rng: np.random.Generator) -> np.ndarray:
    """Sorted start times of a scenario's incidents, `int64` microseconds."""
    frauds_per_day = honest / config.days * config.fraud_rate / (1 - config.fraud_rate) * scenario.share
    day = np.arange(config.days)
    expected = frauds_per_day / scenario.payments * _level(scenario.typology, config, day)
    days = np.repeat(day, rng.poisson(expected))
    return np.sort(days * DAY + scenario.hours.sample(len(days), rng))


def _level(typology: str, config: SimulationConfig, day: np.ndarray) -> np.ndarray:
    """How many times the usual number of incidents begin on each day, `float64 [D]`."""
    level = np.ones(len(day))
    for wave in config.waves:
        if wave.typology == typology:
            # The share of each day that lies within the wave.
            inside = np.clip(np.minimum(day + 1, wave.start_day + wave.days) - np.maximum(day, wave.start_day), 0, 1)
            level *= 1 + (wave.multiplier - 1) * inside
    if config.drift is not None and typology == account_takeover.SCENARIO.typology:
        after = np.clip(day + 1 - config.drift.start_day, 0, 1)
        level *= 1 + (config.drift.takeover_multiplier - 1) * after
    return level
