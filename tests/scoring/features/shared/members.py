"""Processes that share a log, played one after the other in this one, over a ledger that is a list."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from scoring.features.columns import TransactionColumns
from scoring.features.shared.applying import apply, read_columns
from scoring.features.shared.entry import Entry, EntryKind, decode
from scoring.features.shared.rejoin import Rejoiner
from scoring.features.shared.settlement import Settlement
from scoring.features.shared.shared_log import LogLimits, SharedLog
from scoring.features.shared.state import BREAKER_POLICY, SharedFeatureState, SharedRows
from scoring.features.state import FeatureState
from scoring.protection.circuit_breaker import CircuitBreaker
from scoring.reading import read_transaction_object
from scoring.transaction_records import transaction_reader
from scoring.transactions import canonical_json

LATENESS_DAYS = 7
# Patient, so that a busy machine does not look like a Redis that is away.
LIMITS = LogLimits(budget_ms=2_000.0)


def now(function):
    """Run a function between two batches, where there is one thread."""
    return function()


def texts_of(bodies: list[dict]) -> list[bytes]:
    """Return API bodies as the ledger keeps them."""
    return [canonical_json(read_transaction_object(body, datetime(2030, 1, 1, tzinfo=UTC))) for body in bodies]


class Clock:
    """A clock that stands still until it is told to move."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Ledger:
    """The decisions that were committed: (key, canonical text), and which of them on degraded features."""

    rows: list[tuple[int, bytes]] = field(default_factory=list)
    degraded: list[tuple[int, bytes]] = field(default_factory=list)
    keys: itertools.count = field(default_factory=lambda: itertools.count(1_000))

    def state(self) -> FeatureState:
        """Return windows that say what is committed."""
        state = FeatureState(LATENESS_DAYS)
        if self.rows:
            state.absorb(columns(state, [text for _, text in self.rows], [key for key, _ in self.rows]))
        return state

    def which_are_stored(self, texts: list[bytes], keys: np.ndarray) -> np.ndarray:
        stored = {key for key, _ in self.rows}
        return np.array([key in stored for key in keys.tolist()], bool)

    def degraded_since(self, since_ms: int) -> tuple[np.ndarray, list[bytes]]:
        return np.array([key for key, _ in self.degraded], np.uint64), [text for _, text in self.degraded]


@dataclass
class Sent:
    """A batch whose commit is open."""

    batch: TransactionColumns
    rows: SharedRows
    keys: list[int]
    texts: list[bytes]


def columns(state: FeatureState, texts: list[bytes], keys: list[int], *, remember: bool = True) -> TransactionColumns:
    records = transaction_reader().read_many(texts, trusted=True)
    return state.tokens.columns_of(records, np.array(keys, np.uint64), remember=remember)


class Member:
    """One engine process."""

    def __init__(self, url: str, ledger: Ledger, limits: LogLimits = LIMITS, clock: Clock | None = None) -> None:
        self.ledger = ledger
        self.clock = clock or Clock()
        self.log = SharedLog(url, "test", limits=limits)
        breaker = CircuitBreaker("redis", BREAKER_POLICY, clock=self.clock)
        self.state = SharedFeatureState(self.log, ledger.state(), breaker=breaker)
        self.rejoiner = Rejoiner(self.state, self.ledger.state, self.clock)
        self.settlement = Settlement(self.state, ledger.which_are_stored, ledger.degraded_since, self.clock)
        self.tick()

    def tick(self, seconds: float = 61.0) -> bool:
        """What happens each second; return whether this process follows the log. After a minute all pauses are over."""
        self.clock.now += seconds
        following = self.rejoiner.rejoin_if_lost(now)
        exact = self.state.catch_up()
        self.settlement.run(now)
        return following and exact

    def send(self, texts: list[bytes]) -> Sent:
        """Decide a batch up to its commit."""
        keys = list(itertools.islice(self.ledger.keys, len(texts)))
        batch = columns(self.state, texts, keys)
        return Sent(batch, self.state.process(batch), keys, texts)

    def commit(self, sent: Sent) -> None:
        self.store(sent)
        self.state.confirm(sent.rows)

    def store(self, sent: Sent) -> None:
        """Commit, and die before anything else."""
        rows = list(zip(sent.keys, sent.texts, strict=True))
        self.ledger.rows += rows
        self.ledger.degraded += rows if sent.rows.degraded else []

    def fail(self, sent: Sent) -> None:
        self.state.take_back(sent.batch, sent.rows)

    def probe(self, texts: list[bytes]) -> bytes:
        """Return the features that these transactions would get, as bytes; nothing is remembered."""
        return self.state.local.process(columns(self.state, texts, [0] * len(texts), remember=False)).x.tobytes()

    def close(self) -> None:
        self.log.close()


class Replay:
    """One local store that is fed what the log holds, in its order."""

    def __init__(self, log: SharedLog, epoch: str) -> None:
        self._log, self._epoch, self._cursor = log, epoch, 0
        self.state = FeatureState(LATENESS_DAYS)
        self.features: dict[int, bytes] = {}  # event key -> its row

    def follow(self) -> None:
        """Apply what is new."""
        while True:
            head, self._cursor, entries = self._log.read(self._epoch, self._cursor)
            for data in entries:
                self._apply(decode(data))
            if self._cursor == head:
                return

    def _apply(self, entry: Entry) -> None:
        if entry.kind is not EntryKind.EVENTS:
            apply(self.state, entry, read_columns, doubtful=False)
            return
        rows = self.state.process(read_columns(self.state, entry))
        self.features |= {key: row.tobytes() for key, row in zip(entry.keys.tolist(), rows.x, strict=True)}
