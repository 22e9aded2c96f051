"""The driver: one process with its own windows, one that shares them, and two that share them, in turn on one PostgreSQL.

Everything runs on this machine's cores: PostgreSQL (durable, synchronous_commit on), Redis and the engines. The features that
the ledger holds of one more run are compared with one store that is fed the log in its order. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.servers.postgres_server import PostgresServer
from tests.servers.redis_server import RedisServer

ROOT = Path(__file__).resolve().parents[3]
# Processes, and whether they share; the first is what the others are compared with.
ARRANGEMENTS = {"one process, own windows": (1, False), "one process, shared": (1, True), "two processes, shared": (2, True)}
# More than a core decides in a second.
MOST_PER_SECOND = 80_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 where features differ or were degraded."""
    options = _parse(arguments)
    postgres, redis = PostgresServer(durable=True), RedisServer()
    with tempfile.TemporaryDirectory(prefix="bench-shared-") as directory:
        try:
            postgres.start()
            redis.start()
            environment = _environment(postgres.url, redis.url, directory)
            _manage(environment, "migrate", "--verbosity", "0")
            _manage(environment, "bootstrap_model", "--days", str(options.days), "--customers", "1000")
            results = _measure(environment, redis, options)
            checked = _checked(environment, options)
        finally:
            redis.close()
            postgres.close()
    _report(results, checked)
    return 1 if checked["mismatches"] or any(run["degraded"] for runs in results.values() for run in runs) else 0


def _measure(environment: dict[str, str], redis: RedisServer, options: argparse.Namespace) -> dict[str, list[dict]]:
    results: dict[str, list[dict]] = {name: [] for name in ARRANGEMENTS}
    for number in range(options.rounds):
        for name, (processes, is_shared) in ARRANGEMENTS.items():
            shared = environment | {"STATE_STORE": "redis" if is_shared else "local"}
            before = _redis_cpu(redis)
            runs = _run(shared, processes, f"r{number}-{'s' if is_shared else 'l'}{processes}", options)
            seconds = max(run["seconds"] for run in runs)
            results[name].append(
                {
                    "per_s": sum(run["done"] for run in runs) / seconds,
                    "engine_us": 1e6 * sum(run["cpu_s"] for run in runs) / sum(run["done"] for run in runs),
                    "redis_us": 1e6 * (_redis_cpu(redis) - before) / sum(run["done"] for run in runs),
                    "degraded": sum(run["degraded"] for run in runs),
                }
            )
            print(f"{name}: {results[name][-1]}", file=sys.stderr, flush=True)
    return results


def _run(environment: dict[str, str], processes: int, prefix: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    most = int(MOST_PER_SECOND * options.seconds)
    command = [sys.executable, "-m", "tests.benchmarks.shared_state.worker"]
    running = [
        subprocess.Popen(
            [*command, f"{prefix}-{i}", str(options.size), str(options.seconds), str(most)],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for i in range(processes)
    ]  # fmt: skip
    for process in running:
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError("an engine process did not start; its log is above")
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    return [json.loads(process.communicate()[0].splitlines()[-1]) for process in running]


def _checked(environment: dict[str, str], options: argparse.Namespace) -> dict[str, int]:
    """Run two processes once more, and return how many features were compared with one store's and how many differ."""
    # What is compared is what is exact: on a busy machine the usual budget may not do, and answers would be degraded.
    shared = environment | {"STATE_STORE": "redis", "STATE_STORE_BUDGET_MS": "1000"}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.shared_state.check"],
        cwd=ROOT, env=shared, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as check:  # fmt: skip
        if check.stdout.readline().strip() != "ready":
            raise RuntimeError("the check did not start; its log is above")
        _run(shared, 2, "checked", options)
        return json.loads(check.communicate("go\n")[0].splitlines()[-1])


def _redis_cpu(redis: RedisServer) -> float:
    with redis.client() as client:
        cpu = client.info("cpu")
    return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])


def _report(results: dict[str, list[dict]], checked: dict[str, int]) -> None:
    print("| arrangement | transactions/s | engine CPU us/transaction | Redis CPU us/transaction |\n| --- | --- | --- | --- |")
    medians = {}
    for name, runs in results.items():
        medians[name] = {key: statistics.median(run[key] for run in runs) for key in ("per_s", "engine_us", "redis_us")}
        of = medians[name]
        print(f"| {name} | {of['per_s']:,.0f} | {of['engine_us']:.1f} | {of['redis_us']:.2f} |")
    first, _, two = medians.values()
    ratio = round(two["per_s"] / first["per_s"], 2)
    said = {"shared_two_ratio": ratio, "features_compared": checked["compared"], "feature_mismatches": checked["mismatches"]}
    print(json.dumps(said), flush=True)


def _environment(database_url: str, redis_url: str, directory: str) -> dict[str, str]:
    return os.environ | {
        "DATABASE_URL": database_url,
        "DATA_DIR": directory,
        "DJANGO_SETTINGS_MODULE": "riskapp.settings",
        "STATE_STORE_URL": redis_url,
        "STATE_STORE_LOG_MB": "2048",
        "LOG_LEVEL": "WARNING",
    }


def _manage(environment: dict[str, str], *arguments: str) -> None:
    subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.shared_state", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each run (default 5)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each arrangement has its turn (default 3)")
    parser.add_argument("--size", type=int, default=100, help="transactions a batch (default 100)")
    parser.add_argument("--days", type=int, default=30, help="days of simulated history for the model (default 30)")
    return parser.parse_args(arguments)
