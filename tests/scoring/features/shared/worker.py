"""One of several real processes that decide over one log at the same time.

Arguments: URL of Redis, number of this process, how many there are, how many batches, the file for what it saw.
"""

from __future__ import annotations

import random
import sys
import time
from datetime import timedelta

import numpy as np

from tests.scoring.features.shared.members import Ledger, Member, texts_of
from tests.servers.redis_server import client_of
from tests.strategies import START

FAILING = 7  # every so many batches one is not committed


def payments(who: int, count: int) -> list[bytes]:
    """Payments of few cards at few merchants, so that what one process decides matters to the others at once."""
    chance = random.Random(who)
    return texts_of(
        [
            {
                "transaction_id": f"{who}-{number}",
                "occurred_at": (START + timedelta(seconds=10 * number + chance.randrange(10))).isoformat(),
                "amount_minor": chance.randrange(1, 5_000),
                "currency": "EUR",
                "type": "card_payment",
                "channel": "pos",
                "customer_id": f"c{chance.randrange(3)}",
                "card_id": f"k{chance.randrange(3)}",
                "merchant_id": f"m{chance.randrange(2)}",
            }
            for number in range(count)
        ]
    )


def main(url: str, who: int, processes: int, batches: int, path: str) -> None:
    chance = random.Random(100 + who)
    sizes = [chance.randrange(1, 12) for _ in range(batches)]
    texts = payments(who, sum(sizes))
    ledger = Ledger()
    ledger.keys = iter(range(who * 1_000_000, (who + 1) * 1_000_000))
    member = Member(url, ledger)
    with client_of(url) as client:
        while client.zcard("{risk:test}:beats") < processes:
            time.sleep(0.005)
    keys, rows, start = [], [], 0
    for number, size in enumerate(sizes):
        sent = member.send(texts[start : start + size])
        start += size
        if sent.rows.degraded:
            raise SystemExit("degraded, and nothing failed")
        (member.fail if number % FAILING == 0 else member.commit)(sent)
        keys += sent.keys
        rows.append(sent.rows.x)
    member.tick()
    np.savez(path, keys=np.array(keys, np.uint64), rows=np.concatenate(rows), foreign=member.state.counters.foreign_events)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
