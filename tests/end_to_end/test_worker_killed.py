"""SIGKILL of a Celery worker in the middle of a training run loses nothing: the run is finished, once, within a minute."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dj_database_url
import psutil
import pytest
from django.db.utils import ConnectionHandler

pytestmark = [pytest.mark.any_database, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
LEASE_SECONDS = 4
FILL_LEDGER = """
import django; django.setup()
from tests.scoring.learning.ledger import add_history
add_history(rows=6000, days=30)
"""
START_RUN = """
import django; django.setup()
from scoring.services.start_training import MANUAL, start_training
print(start_training(MANUAL, actor="test").pk)
"""


class Database:
    """Looks into the database of the processes under test."""

    def __init__(self, url: str) -> None:
        self._connections = ConnectionHandler({"default": dj_database_url.parse(url)})

    def row(self, query: str) -> tuple:
        with self._connections["default"].cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone()

    def close(self) -> None:
        self._connections.close_all()


class Processes:
    """Starts processes of ours, each with its children in a group of its own, and leaves none behind."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment, self._log = environment, log
        self._started: list[subprocess.Popen] = []

    def python(self, *arguments: str) -> str:
        """Run Python to its end and return what it printed."""
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=self._environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def celery(self, *arguments: str) -> subprocess.Popen:
        """Start `celery -A riskapp ...`."""
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "riskapp", *arguments],
                env=self._environment,
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def worker(self) -> subprocess.Popen:
        return self.celery("worker", "--concurrency=2", "--loglevel=INFO", "--without-gossip", "--without-mingle")

    def beat(self) -> subprocess.Popen:
        return self.celery("beat", "--loglevel=WARNING")

    def stop(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.terminate()
        for process in self._started:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture
def environment(app_environment: dict[str, str]) -> dict[str, str]:
    return app_environment | {
        "RETRAIN_LEASE_SECONDS": str(LEASE_SECONDS),
        "SWEEP_EVERY_SECONDS": "1",
        "RETRAIN_EVERY_SECONDS": "86400",
    }


@pytest.fixture
def database(environment: dict[str, str], django_db_blocker) -> Iterator[Database]:
    # Not the test database of this process, so there is nothing to set up, only the guard to lift.
    with django_db_blocker.unblock():
        database = Database(environment["DATABASE_URL"])
        yield database
        database.close()


@pytest.fixture
def processes(environment: dict[str, str], tmp_path: Path) -> Iterator[Processes]:
    log = tmp_path / "celery.log"
    processes = Processes(environment, log)
    yield processes
    processes.stop()
    print(log.read_text(errors="replace")[-6000:] if log.exists() else "no log")


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Return how long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.05)
    return time.monotonic() - began


def start_a_run(processes: Processes, database: Database) -> int:
    """Return once a worker is training: it has drawn its rows and has not stored an artifact yet."""
    run_id = int(processes.python("-c", START_RUN))

    def is_training() -> bool:
        state, figures = database.row(f"SELECT state, figures FROM scoring_trainingrun WHERE id = {run_id}")
        assert state in ("pending", "running"), f"the run is {state} already: give it more to do"
        return state == "running" and '"data"' in str(figures).replace("'", '"')

    wait_until(is_training, 60, "the first attempt")
    return run_id


def require_finished_once(database: Database, run_id: int, data_dir: Path) -> None:
    state, attempts, challenger = database.row(
        f"SELECT state, attempts, challenger_id FROM scoring_trainingrun WHERE id = {run_id}"
    )
    assert state == "promoted"
    assert attempts >= 2
    releases, champions, newest, artifact = database.row(
        "SELECT COUNT(*), SUM(CASE WHEN state = 'champion' THEN 1 ELSE 0 END), MAX(id), MAX(artifact) FROM scoring_programrelease"
    )
    assert (releases, champions, newest) == (1, 1, challenger)
    assert database.row("SELECT COUNT(*) FROM scoring_auditentry WHERE action = 'program.register'") == (1,)
    # What the killed worker had begun to write is gone.
    assert [folder.name for folder in (data_dir / "artifacts").iterdir()] == [artifact]


@pytest.fixture
def filled_ledger(processes: Processes) -> None:
    processes.python("manage.py", "migrate", "--verbosity=0")
    processes.python("-c", FILL_LEDGER)


def finished(database: Database, run_id: int) -> bool:
    return database.row(f"SELECT finished_at FROM scoring_trainingrun WHERE id = {run_id}")[0] is not None


def test_a_killed_worker_is_replaced_and_its_run_finished(filled_ledger, processes, database, data_dir):
    worker = processes.worker()
    processes.beat()
    run_id = start_a_run(processes, database)

    os.killpg(worker.pid, signal.SIGKILL)  # the worker and its children, as when a host goes down
    worker.wait()
    killed_at = time.monotonic()
    assert not finished(database, run_id)
    processes.worker()

    wait_until(lambda: finished(database, run_id), 60, "the end of the run")
    print(f"finished {time.monotonic() - killed_at:.1f} s after the kill, with a lease of {LEASE_SECONDS} s")
    require_finished_once(database, run_id, data_dir)


def test_a_killed_child_of_a_worker_that_lives_on_loses_nothing(filled_ledger, processes, database, data_dir):
    worker = processes.worker()
    processes.beat()
    run_id = start_a_run(processes, database)

    # Of the pool's processes the one that trains has used the most processor time.
    children = psutil.Process(worker.pid).children(recursive=True)
    max(children, key=lambda child: sum(child.cpu_times()[:2])).kill()
    killed_at = time.monotonic()

    wait_until(lambda: finished(database, run_id), 60, "the end of the run")
    print(f"finished {time.monotonic() - killed_at:.1f} s after the kill, with a lease of {LEASE_SECONDS} s")
    require_finished_once(database, run_id, data_dir)
    assert worker.poll() is None
