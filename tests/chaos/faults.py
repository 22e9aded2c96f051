"""Carrying out one fault on the running stack."""

from __future__ import annotations

import random
import re
import resource
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import redis

from tests.chaos.plan import Fault
from tests.chaos.proxy import DOWNSTREAM, DROP, FORWARD, HALVE, UPSTREAM, Proxy, Trap
from tests.chaos.stack import Stack, Supervised

# A trap that nothing runs into within this time is given up, and the fault happens at once instead.
TRAP_PATIENCE_S = 1.0
# Decisions alone are stored by COPY, several of which are one transaction ("Message Formats", PostgreSQL manual): CopyDone,
# on which the server commits, and what it says to the last of them when it has: CommandComplete, ReadyForQuery (idle).
COMMIT, COMMITTED = re.compile(rb"c\x00{3}\x04"), re.compile(rb"COPY \d+\x00Z\x00{3}\x05I")
REQUEST, ANSWER = re.compile(b"POST /api/v1/decisions"), re.compile(b"HTTP/1.1 200")


class Faults:
    """Does to a stack what a plan says.

    Attributes:
        missed: faults whose trap was not sprung, and that came at a random moment instead.
    """

    def __init__(self, stack: Stack, seed: int) -> None:
        self._stack = stack
        self._chance = random.Random(f"faults-{seed}")
        self.missed = 0
        self._kinds: dict[str, Callable[[Fault], None]] = {
            "web.kill": lambda fault: self._web.kill(fault.hold_s),
            "web.kill_after_request": self._kill_after_request,
            "web.kill_before_answer": lambda fault: self._trap("web", DOWNSTREAM, ANSWER, DROP, self._web.kill_parent_now),
            "web.kill_while_starting": self._kill_while_starting,
            "web.terminate": lambda fault: self._web.ask_to_end(signal.SIGTERM, fault.hold_s),
            "web.pause": lambda fault: self._pause("web", fault),
            "web.file_limit": self._file_limit,
            "clients.answer_lost": lambda fault: self._trap("web", DOWNSTREAM, ANSWER, DROP),
            "clients.answer_cut": lambda fault: self._trap("web", DOWNSTREAM, ANSWER, HALVE),
            "redis.flushall": self._flush,
            "redis.kill": lambda fault: self._stack.parts["redis"].kill(fault.hold_s),
            "worker.kill": lambda fault: self._stack.parts["worker"].kill(fault.hold_s),
            "beat.kill": lambda fault: self._stack.parts["beat"].kill(fault.hold_s),
            "worker.terminate": lambda fault: self._stack.parts["worker"].ask_to_end(signal.SIGTERM),
            "worker.kill_child": self._kill_child,
            "sqlite.locked": self._lock,
            "postgres.kill": lambda fault: self._postgres.kill(fault.hold_s),
            "postgres.immediate": lambda fault: self._postgres.ask_to_end(signal.SIGQUIT, fault.hold_s),
            "postgres.fast": lambda fault: self._postgres.ask_to_end(signal.SIGINT, fault.hold_s),
            "postgres.terminate_backend": lambda fault: self._end_backend(terminate=True),
            "postgres.kill_backend": lambda fault: self._end_backend(terminate=False),
            "commit.web_killed_before": lambda fault: self._trap("postgres", UPSTREAM, COMMIT, DROP, self._web.kill_parent_now),
            "commit.web_killed_after": lambda fault: self._trap("postgres", UPSTREAM, COMMIT, FORWARD, self._web.kill_parent_now),
            "commit.web_killed_at_answer": lambda fault: self._trap(
                "postgres", DOWNSTREAM, COMMITTED, FORWARD, self._web.kill_parent_now
            ),
            "commit.cut_before": lambda fault: self._trap("postgres", UPSTREAM, COMMIT, DROP),
            "commit.answer_lost": lambda fault: self._trap("postgres", DOWNSTREAM, COMMITTED, DROP),
            "commit.postgres_killed_after": lambda fault: self._trap(
                "postgres", UPSTREAM, COMMIT, FORWARD, self._postgres.kill_parent_now
            ),
        }
        for part in ("redis", "worker", "postgres"):
            self._kinds[f"{part}.pause"] = lambda fault, part=part: self._pause(part, fault)
        for place, proxy in (("clients", "web"), ("redis", "redis"), ("postgres", "postgres")):
            self._kinds[f"{place}.reset"] = lambda fault, proxy=proxy: self._reset(proxy)
            self._kinds[f"{place}.silence"] = lambda fault, proxy=proxy: self._silence(proxy, fault)
            self._kinds[f"{place}.slow"] = lambda fault, proxy=proxy: self._slow(proxy, fault)
            self._kinds[f"{place}.fragments"] = lambda fault, proxy=proxy: self._fragments(proxy, fault)

    def carry_out(self, fault: Fault) -> None:
        """Return when the fault has happened; what it killed may still be down.

        Raises:
            KeyError: the plan names a kind that does not exist.
        """
        self._kinds[fault.kind](fault)

    @property
    def _web(self) -> Supervised:
        return self._stack.parts["web"]

    @property
    def _postgres(self) -> Supervised:
        return self._stack.parts["postgres"]

    # --- processes -------------------------------------------------------------------------------------------------

    def _pause(self, part: str, fault: Fault) -> None:
        with self._stack.parts[part].frozen():
            time.sleep(fault.hold_s)

    def _kill_after_request(self, fault: Fault) -> None:
        """The server dies within some milliseconds after it got a request, which is where it decides and commits."""
        self._trap("web", UPSTREAM, REQUEST, FORWARD)
        time.sleep(0.008 * self._chance.random() ** 2)
        self._web.kill()

    def _kill_while_starting(self, fault: Fault) -> None:
        self._web.kill()
        self._stack.look_after()
        time.sleep(fault.hold_s)
        self._web.kill()

    def _kill_child(self, fault: Fault) -> None:
        """A process of the worker's pool dies, and the worker lives on."""
        if children := self._stack.parts["worker"].tree()[1:]:
            with suppress(psutil.NoSuchProcess):
                self._chance.choice(children).kill()

    def _file_limit(self, fault: Fault) -> None:
        """The server may not let any file grow, as on a full disk: its log, and with SQLite its database too."""
        if (pid := self._web.pid) is None:
            return
        with suppress(ProcessLookupError), _limited_files(pid):
            time.sleep(fault.hold_s)

    # --- the network -----------------------------------------------------------------------------------------------

    def _proxy(self, name: str) -> Proxy:
        return self._stack.proxies[name]

    def _reset(self, name: str) -> None:
        self._proxy(name).reset_all()

    def _silence(self, name: str, fault: Fault) -> None:
        """Nothing gets through, nobody is told; then, as if one side had given up, all connections are reset."""
        proxy = self._proxy(name)
        proxy.silence()
        time.sleep(fault.hold_s)
        proxy.reset_all()
        proxy.mend()

    def _slow(self, name: str, fault: Fault) -> None:
        proxy = self._proxy(name)
        proxy.latency_s = 0.005 + 0.1 * self._chance.random()
        time.sleep(fault.hold_s + proxy.latency_s)
        proxy.mend()

    def _fragments(self, name: str, fault: Fault) -> None:
        proxy = self._proxy(name)
        proxy.fragment_bytes = self._chance.randint(1, 300)
        time.sleep(fault.hold_s)
        proxy.mend()

    def _trap(
        self, name: str, direction: str, needle: re.Pattern[bytes], deliver: str, action: Callable[[], None] = lambda: None
    ) -> None:
        """Wait until `needle` passes, and see to it that `action` happens in any case."""
        proxy, trap = self._proxy(name), Trap(direction, needle, action, deliver)
        proxy.set_trap(trap)
        deadline = time.monotonic() + TRAP_PATIENCE_S
        while not trap.sprung.wait(0.05):
            self._stack.look_after()
            if time.monotonic() > deadline:
                proxy.mend()
                if not trap.sprung.is_set():  # it may have been on its way
                    self.missed += 1
                    action()
                    proxy.reset_all()
                return

    # --- stores ----------------------------------------------------------------------------------------------------

    def _flush(self, fault: Fault) -> None:
        path = f"unix://{self._stack.redis_socket}"
        with suppress(redis.ConnectionError, redis.TimeoutError), redis.Redis.from_url(path, socket_timeout=2) as client:
            client.flushall()

    def _lock(self, fault: Fault) -> None:
        """Another process writes for a while: SQLite has one writer at a time."""
        with closing(sqlite3.connect(database_file(self._stack.direct_url), timeout=10, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(fault.hold_s)
            connection.execute("ROLLBACK")

    def _end_backend(self, *, terminate: bool) -> None:
        """End one session: as an administrator does, or so that PostgreSQL has to recover from it."""
        query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        with suppress(psycopg.OperationalError), psycopg.connect(self._stack.direct_url, connect_timeout=3) as connection:
            pids = [pid for (pid,) in connection.execute(query).fetchall()]
            if not pids:
                return
            if terminate:
                connection.execute("SELECT pg_terminate_backend(%s)", [self._chance.choice(pids)])
            else:
                with suppress(psutil.NoSuchProcess):
                    psutil.Process(self._chance.choice(pids)).kill()


@contextmanager
def _limited_files(pid: int):
    """Let no file of the process grow beyond its first bytes for the block."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def database_file(url: str) -> Path:
    """Return the file that an sqlite:/// URL names."""
    return Path(urlsplit(url).path)
