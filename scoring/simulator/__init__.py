"""The project's own simulator of payments: seeded, realistic, with fraud and late reports.

stream = simulate(SimulationConfig(seed=7, days=30))
for payment in stream.transactions: ...
for label in stream.labels: ...
"""

from scoring.simulator.config import TYPOLOGIES, Drift, FraudWave, SimulationConfig
from scoring.simulator.simulate import simulate
from scoring.simulator.stream import SimulatedStream

__all__ = ["TYPOLOGIES", "Drift", "FraudWave", "SimulatedStream", "SimulationConfig", "simulate"]
