"""What a start costs: the feature state from the whole ledger, and from the state file and the ledger's tail.

    python -m tests.benchmarks.feature_state_start [--payments N] [--tail N] [--folder PATH]

Fills a ledger (SQLite, in a temporary folder) with payments of the project's simulator over 44 days, so that the state
remembers all of them; starts from it; writes the state file while payments go on being processed one by one; and starts
again. The two states must answer alike. Prints a table, and a JSON object as the last line.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

# The simulator's payments of a customer in 44 days, about.
_PAYMENTS_A_CUSTOMER = 93
_CHUNK = 5_000
# A stored row of features takes about so much; its content is not read here.
_FEATURES = bytes(500)


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        _set_up(Path(folder))
        print(json.dumps(run(options.payments, options.tail)))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.feature_state_start", description=__doc__)
    parser.add_argument("--payments", type=int, default=200_000)
    parser.add_argument("--tail", type=int, default=20_000, help="payments after the state file was begun")
    parser.add_argument("--folder", type=Path, help="where the ledger is made; about 1.3 KB a payment")
    return parser.parse_args()


def _set_up(folder: Path) -> None:
    os.environ |= {
        "DATA_DIR": str(folder),
        "DATABASE_URL": f"sqlite:///{folder / 'ledger.sqlite3'}",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "DJANGO_SETTINGS_MODULE": "riskapp.settings",
    }
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def run(payments: int, tail: int) -> dict[str, float]:
    """Return the figures; the parts are told as they are done."""
    from scoring.decisions.state_keeper import StateKeeper, state_file

    stream = _texts(payments + tail)
    _fill(itertools.islice(stream, payments))
    later = list(stream)[:tail]

    whole = StateKeeper()
    from_ledger = _times(whole.rebuild)
    state, tokens = whole.state, sum(whole.state.tokens.sizes())
    print(f"{payments:,} payments, {state.event_count():,} remembered events, {_megabytes(state.memory_bytes())} MB of windows, "
          f"{_megabytes(state.tokens.memory_bytes())} MB of tables for {tokens:,} tokens and pairs")  # fmt: skip
    token_bytes = state.tokens.memory_bytes() / max(1, tokens)
    slice_ms = _longest_slice_ms(state)
    began = time.perf_counter()
    writer = whole.save()
    begun = time.perf_counter() - began
    busy, idle = _process(whole, later, writer)
    seconds = busy["seconds"] + _seconds(writer.join)
    _fill(text for _, text in later)

    again = StateKeeper()
    from_file = _times(again.rebuild)
    if _answers(whole, later) != _answers(again, later):
        raise SystemExit("the state of the file answers otherwise")
    size = state_file().stat().st_size
    print("\n| start | seconds | CPU seconds |\n|---|---|---|")
    for what, took in (("the ledger alone", from_ledger), (f"the state file and {tail:,} payments after it", from_file)):
        print(f"| from {what} | {took[0]:.1f} | {took[1]:.1f} |")
    print(f"\nstate file: {_megabytes(size)} MB, written in {seconds:.1f} s beside {busy['count']:,} payments; begun in "
          f"{begun * 1e3:.2f} ms (with a look-up in the ledger)")  # fmt: skip
    print(f"the copy goes in slices, for the longest of which decisions wait: {slice_ms:.2f} ms of CPU time")
    print(f"a payment's features, one by one while the file is written: {_told(busy)}; after that: {_told(idle)}\n")
    return {
        "payments": payments,
        "start_from_ledger_s": round(from_ledger[0], 2),
        "start_from_ledger_cpu_s": round(from_ledger[1], 2),
        "start_from_file_s": round(from_file[0], 2),
        "start_from_file_cpu_s": round(from_file[1], 2),
        "file_mb": round(size / 1e6, 1),
        "write_s": round(seconds, 2),
        "longest_slice_ms": round(slice_ms, 2),
        "longest_call_ms": round(busy["longest"] / 1e3, 2),
        "token_bytes": round(token_bytes, 1),
    }


def _longest_slice_ms(state) -> float:
    """Return the most CPU time that a slice of the copy takes, with nobody else at work on the state."""
    export, longest = state.snapshot()._logs, 0
    while True:
        began = time.thread_time_ns()
        logs = next(export, None)
        longest = max(longest, time.thread_time_ns() - began)
        if logs is None:
            return longest / 1e6


def _told(times: dict[str, float]) -> str:
    if not times["count"]:
        return "none"
    return f"p50 {times['p50']:.0f}, p99 {times['p99']:.0f}, longest {times['longest']:.0f} us"


def _times(act) -> tuple[float, float]:
    """Return the seconds that passed and the CPU seconds that were used."""
    began, began_cpu = time.perf_counter(), time.process_time()
    act()
    return time.perf_counter() - began, time.process_time() - began_cpu


def _seconds(act) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _megabytes(size: int) -> int:
    return round(size / 1e6)


def _texts(count: int) -> Iterator[tuple[dict, bytes]]:
    """Yield payments of 44 days as (body, canonical text)."""
    import msgspec

    from scoring.simulator import SimulationConfig, simulate
    from scoring.transactions import Transaction, canonical_json

    customers = math.ceil(count / _PAYMENTS_A_CUSTOMER)
    config = SimulationConfig(days=44, customers=customers, merchants=max(50, customers // 5))
    for body in simulate(config).transactions:
        yield body, canonical_json(msgspec.convert(body, Transaction))


def _fill(texts: Iterator) -> None:
    """Store decisions on the payments, as the engine's rows."""
    while chunk := list(itertools.islice(texts, _CHUNK)):
        _store([text if isinstance(text, bytes) else text[1] for text in chunk])


def _store(texts: Sequence[bytes]) -> None:
    import struct
    from datetime import UTC, datetime

    from scoring.decisions.accepted import Accepted, read_texts
    from scoring.decisions.engine import new_decision_ids
    from scoring.ledger import commit_decisions
    from tests.scoring.decisions.ledger_samples import PlainRows, packed

    n = len(texts)
    accepted = Accepted(range(n), read_texts(texts))
    occurred_us = accepted.records.integers["occurred_at"]
    shared = {
        "currency": "EUR", "type": "card_payment", "channel": "pos", "outcome": 0, "score": 0, "probability": None,
        "margin": None,
        "features": _FEATURES, "feature_schema": "benchmark", "program_version": "benchmark", "degraded": False, "mode": "normal",
        "stamps": 0, "engine_us": 0, "form_id": 0, "evidence": b"", "response": None,
    }  # fmt: skip
    rows = {name: [value] * n for name, value in shared.items()} | {
        "decision_id": [text.decode() for (text,) in struct.iter_unpack("36s", new_decision_ids(n)[0])],
        "transaction_id": accepted.ids,
        "occurred_at": occurred_us,
        "received_at": occurred_us,
        "amount_minor": accepted.records.integers["amount_minor"].tolist(),
        "transaction": accepted.texts,
        **{name: accepted.tokens(name) for name in ("customer_id", "card_id", "merchant_id", "country")},
    }
    commit_decisions(packed(PlainRows(**rows)), b"", datetime.now(UTC))


def _process(keeper, later: list[tuple[dict, bytes]], writer) -> tuple[dict[str, float], dict[str, float]]:
    """Process the payments one by one; return the times while the file is written, and those after it."""
    from scoring.decisions.accepted import read_texts

    times: dict[bool, list[int]] = {True: [], False: []}
    began = time.perf_counter()
    lasted = 0.0
    for number, (_, text) in enumerate(later):
        records, keys = read_texts([text]), np.array([number], np.uint64)
        is_busy = writer.is_alive()
        start = time.perf_counter_ns()
        keeper.state.process(keeper.state.tokens.columns_of(records, keys, remember=True))
        times[is_busy].append(time.perf_counter_ns() - start)
        if is_busy:
            lasted = time.perf_counter() - began
    busy, idle = (_summary(times[key]) for key in (True, False))
    return busy | {"seconds": lasted}, idle


def _summary(nanoseconds: list[int]) -> dict[str, float]:
    of = np.array(nanoseconds or [0]) / 1e3
    return {
        "count": len(nanoseconds), "p50": float(np.median(of)), "p99": float(np.percentile(of, 99)), "longest": float(of.max()),
    }  # fmt: skip


def _answers(keeper, later: list[tuple[dict, bytes]]) -> bytes:
    from scoring.decisions.accepted import read_texts

    records = read_texts([text for _, text in later])
    batch = keeper.state.tokens.columns_of(records, np.zeros(len(later), np.uint64), remember=False)
    return keeper.state.process(batch).x.tobytes()


if __name__ == "__main__":
    sys.exit(main())
