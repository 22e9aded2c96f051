"""What goes wrong, how often, and in which order: all of it follows from the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.chaos.stack import POSTGRES, SQLITE


@dataclass(frozen=True)
class Kind:
    """One kind of fault.

    Attributes:
        weight: its share of the faults, relative to the others of the same database.
        longest_hold_s: upper bound of how long it lasts, or of how long what was killed stays down.
        only: the database that it needs; None where it fits both.
    """

    name: str
    weight: float
    longest_hold_s: float = 0.0
    only: str | None = None


# The dear kinds (a start of the server takes about a second, a start of the worker two) are the rarer ones.
KINDS = (
    # --- the server
    Kind("web.kill", 5, 0.3),
    Kind("web.kill_after_request", 5),
    Kind("web.kill_before_answer", 4),
    Kind("web.kill_while_starting", 2, 1.0),
    Kind("web.terminate", 3),
    Kind("web.pause", 6, 0.6),
    Kind("web.file_limit", 2, 0.2),
    # --- between clients and server
    Kind("clients.reset", 9),
    Kind("clients.answer_lost", 9),
    Kind("clients.answer_cut", 7),
    Kind("clients.silence", 2, 0.4),
    Kind("clients.slow", 2, 0.3),
    Kind("clients.fragments", 4, 0.2),
    # --- Redis and what uses it
    Kind("redis.flushall", 7),
    Kind("redis.kill", 4, 0.5),
    Kind("redis.pause", 3, 0.4),
    Kind("redis.reset", 5),
    Kind("redis.silence", 2, 0.4),
    Kind("worker.kill", 2, 0.5),
    Kind("worker.kill_child", 3),
    Kind("worker.pause", 3, 0.4),
    Kind("worker.terminate", 0.7),
    Kind("beat.kill", 1, 0.5),
    # --- SQLite
    Kind("sqlite.locked", 12, 0.5, SQLITE),
    # --- PostgreSQL
    Kind("postgres.kill", 4, 0.5, POSTGRES),
    Kind("postgres.immediate", 3, 0.5, POSTGRES),
    Kind("postgres.fast", 2, 0.5, POSTGRES),
    Kind("postgres.pause", 5, 0.6, POSTGRES),
    Kind("postgres.terminate_backend", 9, 0.0, POSTGRES),
    Kind("postgres.kill_backend", 4, 0.0, POSTGRES),
    Kind("postgres.reset", 8, 0.0, POSTGRES),
    Kind("postgres.silence", 2, 0.4, POSTGRES),
    Kind("postgres.slow", 3, 0.3, POSTGRES),
    # --- at the commit, by what passes on the wire
    Kind("commit.web_killed_before", 4, 0.0, POSTGRES),
    Kind("commit.web_killed_after", 4, 0.0, POSTGRES),
    Kind("commit.web_killed_at_answer", 4, 0.0, POSTGRES),
    Kind("commit.cut_before", 6, 0.0, POSTGRES),
    Kind("commit.answer_lost", 8, 0.0, POSTGRES),
    Kind("commit.postgres_killed_after", 2, 0.0, POSTGRES),
)


@dataclass(frozen=True)
class Fault:
    """One fault of a run.

    Attributes:
        delay_s: how long after the moment at which it may happen it does: it then hits anything.
        hold_s: see Kind.longest_hold_s.
        hurried: it does not wait until the one before it is over.
    """

    number: int
    kind: str
    delay_s: float
    hold_s: float
    hurried: bool


def plan_faults(count: int, seed: int, database: str) -> list[Fault]:
    """Return the schedule; a longer one of the same seed begins with a shorter one.

    Each kind comes once before any comes twice where `count` has room for all; after that by weight.
    """
    chance = random.Random(f"{seed}-{database}")
    kinds = [kind for kind in KINDS if kind.only in (None, database)]
    first = chance.sample(kinds, len(kinds))
    faults = []
    for number in range(count):
        kind = first[number] if number < len(first) else chance.choices(kinds, [kind.weight for kind in kinds])[0]
        faults.append(
            Fault(
                number=number,
                kind=kind.name,
                delay_s=0.03 * chance.random(),
                # Squared: mostly short, now and then as long as it may be.
                hold_s=kind.longest_hold_s * (0.1 + 0.9 * chance.random() ** 2),
                hurried=chance.random() < 0.15,
            )
        )
    return faults
