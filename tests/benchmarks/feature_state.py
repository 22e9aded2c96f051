"""What the window state costs: memory per million payments, and CPU time per payment.

    python -m tests.benchmarks.feature_state [--handbook FILE] [--customers N] [--days N]

Always with a stream of the project's own simulator, which names every kind of entity; with --handbook with that file too, which
names card, customer and terminal alone. One thread, batches of 5,000; the time is what that thread uses of a CPU. Prints a table,
and a JSON object as the last line.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from scoring.features.columns import TransactionColumns
from scoring.features.schema import DAY_US, KINDS, current_schema
from scoring.features.state import FeatureState
from scoring.simulator import SimulationConfig, simulate
from scoring.transactions import Transaction
from tests.benchmarks.accuracy.reading import read_payments

BATCH = 5_000
MAX_LATENESS_DAYS = 7  # the setting's default; the state remembers so much longer than its longest look back


@dataclass
class Cost:
    """What one stream cost.

    Attributes:
        remembered_payments: those still inside the retention at the end of the stream.
        remembered_events: the same counted once for each kind of entity that a payment names.
        bytes: of the windows, at the end.
    """

    stream: str
    payments: int
    remembered_payments: int
    remembered_events: int
    bytes: int
    seconds: float

    def row(self) -> str:
        """Return a row of the Markdown table."""
        return (
            f"| {self.stream} | {self.payments:,} | {self.remembered_payments:,} "
            f"| {self.remembered_events / self.remembered_payments:.1f} | {self.bytes / 1e6:.0f} "
            f"| {self.per_million_payments_mb:.0f} | {self.bytes / self.remembered_events:.0f} | {self.us_per_payment:.2f} |"
        )

    def summary(self) -> dict[str, float]:
        """Return what the last line says of the stream."""
        return {"mb_per_million": round(self.per_million_payments_mb, 1), "us": round(self.us_per_payment, 2)}

    @property
    def per_million_payments_mb(self) -> float:
        return self.bytes / self.remembered_payments

    @property
    def us_per_payment(self) -> float:
        return self.seconds / self.payments * 1e6


TABLE_HEAD = (
    "| stream | payments | remembered | entities a payment | MB | MB per million payments | bytes an event | CPU us a payment |\n"
    "|---|---|---|---|---|---|---|---|"
)


def measure(name: str, state: FeatureState, batches: Iterable[TransactionColumns]) -> Cost:
    """Process the batches; only the CPU time inside the state is counted."""
    times, seconds = [], 0.0
    for batch in batches:
        started = time.thread_time()
        state.process(batch)
        seconds += time.thread_time() - started
        times.append(batch.occurred_us)
    occurred_us = np.concatenate(times)
    remembered = int(np.count_nonzero(occurred_us >= occurred_us.max() - state.layout.retention_us))
    return Cost(name, len(occurred_us), remembered, state.event_count(), state.memory_bytes(), seconds)


def simulated_batches(state: FeatureState, config: SimulationConfig) -> Iterator[TransactionColumns]:
    """The simulator's payments as the API would have parsed them."""
    payments = enumerate(simulate(config).transactions)
    while part := list(itertools.islice(payments, BATCH)):
        parsed = [msgspec.convert(body, Transaction) for _, body in part]
        yield state.tokens.columns(parsed, [number for number, _ in part], remember=True)


def handbook_batches(state: FeatureState, path: Path) -> Iterator[TransactionColumns]:
    """The payments of a file in the Handbook's layout."""
    payments = read_payments(path)
    for start in range(0, len(payments), BATCH):
        yield payments.columns(slice(start, min(start + BATCH, len(payments))), state.tokens)


def main() -> int:
    options = _options()
    costs = []
    state = FeatureState(MAX_LATENESS_DAYS)
    config = SimulationConfig(days=options.days, customers=options.customers, merchants=options.customers // 5)
    costs.append(measure("simulator, all kinds", state, simulated_batches(state, config)))
    if options.handbook:
        other = FeatureState(MAX_LATENESS_DAYS)
        costs.append(measure("Handbook", other, handbook_batches(other, options.handbook)))
    days = state.layout.retention_us // DAY_US
    print(f"{current_schema().width} features, {len(KINDS)} kinds of entity, {days} days remembered\n\n{TABLE_HEAD}")
    print("\n".join(cost.row() for cost in costs), end="\n\n")
    print(json.dumps({cost.stream: cost.summary() for cost in costs}))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.feature_state", description=__doc__)
    parser.add_argument("--handbook", type=Path, help="Parquet or CSV file in the Handbook's layout")
    parser.add_argument("--customers", type=int, default=6_000)
    parser.add_argument("--days", type=int, default=60, help="simulated days; more than are remembered gives the steady state")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
