"""One engine process of the benchmark: decides batches until told to stop, as the server's engine does, without HTTP.

Arguments: prefix of its transaction ids, transactions a batch, seconds. Says "ready" on stdout, begins when a line comes on
stdin, and prints one JSON line at the end.
"""

from __future__ import annotations

import itertools
import json
import sys
import time

import django

django.setup()

from scoring.decisions.requests import Decided, request_now  # noqa: E402
from scoring.decisions.runtime import discard_engine, get_engine  # noqa: E402
from scoring.features.shared.state import SharedFeatureState  # noqa: E402
from tests.benchmarks.serving.payloads import make_population, transactions  # noqa: E402

REFRESH_SECONDS = 1.0


def main(prefix: str, size: int, seconds: float, most: int) -> None:
    bodies = [body.encode() for body in transactions(make_population(), count=most, prefix=prefix, seed=hash(prefix) & 0xFFFF)]
    engine = get_engine()
    print("ready", flush=True)
    sys.stdin.readline()
    began, cpu = time.perf_counter(), 0.0
    next_refresh = began + REFRESH_SECONDS
    done = degraded = 0
    for start in itertools.takewhile(lambda start: start + size <= most, itertools.count(0, size)):
        now = time.perf_counter()
        if now - began >= seconds:
            break
        if now >= next_refresh:
            engine.refresh(wait=False)
            next_refresh = now + REFRESH_SECONDS
        before = time.thread_time()
        results = engine.decide([request_now(body) for body in bodies[start : start + size]])
        cpu += time.thread_time() - before
        assert all(isinstance(result, Decided) for result in results), results[0]
        done += size
    else:
        raise SystemExit("there were too few transactions for so many seconds")
    result = {"done": done, "seconds": time.perf_counter() - began, "cpu_s": cpu}
    if isinstance(engine.state, SharedFeatureState):
        counters = engine.state.counters
        degraded = counters.degraded
        result |= {"exchanges": counters.exchanges, "foreign": counters.foreign_events}
    print(json.dumps(result | {"degraded": degraded}), flush=True)
    discard_engine()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
