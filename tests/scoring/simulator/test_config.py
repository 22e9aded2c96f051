"""A config is checked once, and its digest names it."""

from datetime import UTC, datetime

import pytest

from scoring.simulator import Drift, FraudWave, SimulationConfig


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"days": 0},
        {"customers": 49},
        {"merchants": 99},
        {"daily_rate": 0.0},
        {"fraud_rate": 0.3},
        {"start": datetime(2026, 1, 1)},
        {"cash_threshold_minor": 10},
    ],
)
def test_a_config_out_of_bounds_is_refused_and_names_the_setting(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SimulationConfig(**wrong)


def test_a_wave_of_an_unknown_typology_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="known: card_testing"):
        FraudWave("robbery", start_day=1, days=1, multiplier=2)


def test_a_drift_takes_shares_only():
    with pytest.raises(ValueError, match="ecom_shift"):
        Drift(start_day=1, ecom_shift=1.5)


def test_the_digest_differs_with_every_setting_and_is_otherwise_the_same():
    base = SimulationConfig()
    others = [
        SimulationConfig(seed=8),
        SimulationConfig(start=datetime(2026, 3, 3, tzinfo=UTC)),
        SimulationConfig(days=31),
        SimulationConfig(drift=Drift(start_day=3)),
        SimulationConfig(waves=(FraudWave("structuring", 1, 1, 2),)),
    ]
    assert base.digest == SimulationConfig().digest
    assert len({base.digest, *(config.digest for config in others)}) == 1 + len(others)


def test_a_scripted_config_places_wave_and_drift_inside_the_simulated_time():
    config = SimulationConfig(days=20).scripted(wave_at=0.25, drift_at=0.5)
    assert [wave.start_day for wave in config.waves] == [5.0]
    assert config.drift.start_day == 10.0
