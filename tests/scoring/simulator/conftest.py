"""One simulation that most tests look at."""

import pytest

from scoring.simulator import SimulatedStream, SimulationConfig, simulate

SMALL = SimulationConfig(seed=3, days=14, customers=600, merchants=150)


@pytest.fixture(scope="session")
def stream() -> SimulatedStream:
    return simulate(SMALL)
