"""The real processes of an installation, on ports of their own, looked after as an orchestrator would."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

import psutil
import redis

from tests.benchmarks.serving.processes import WebServer
from tests.chaos.proxy import Proxy
from tests.product_source import ROOT
from tests.servers.plugin import HERMETIC
from tests.servers.postgres_server import PostgresServer, create_database
from tests.servers.process import STOP_SECONDS, ServerProcess, ServerUnavailable, short_directory
from tests.servers.redis_server import RedisServer

SCOPES = "decisions:write,decisions:read,labels:write,metrics:read"
READY_SECONDS = 60.0
SQLITE, POSTGRES = "sqlite", "postgres"


class Supervised:
    """One process that is started again whenever it is found dead, as soon as that is allowed."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.not_before = 0.0
        self.own_exits = 0  # deaths that nobody here caused
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self.is_running else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Start it without waiting until it answers."""
        self._process = self.server.spawn()

    def look_after(self) -> None:
        """Start it again if it died and its time has come."""
        if self.is_running or time.monotonic() < self.not_before:
            return
        if self.not_before == 0.0 and self._process is not None:
            self.own_exits += 1
            self.not_before = time.monotonic() + 0.2  # not in a tight loop
            return
        self.not_before = 0.0
        self.launch()

    def tree(self) -> list[psutil.Process]:
        """Return the process and its children, parents first; empty where it is not running."""
        if self.pid is None:
            return []
        try:
            parent = psutil.Process(self.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill(self, down_s: float = 0.0) -> None:
        """SIGKILL for it and all its children, as when a host goes down; it may start again after `down_s`."""
        self.not_before = time.monotonic() + down_s
        tree = self.tree()
        for process in tree:
            _send(process, signal.SIGKILL)
        self._reap(tree)

    def kill_parent_now(self) -> None:
        """SIGKILL for the process alone, without waiting for its end: for the traps of a proxy."""
        self.not_before = time.monotonic()
        if (pid := self.pid) is not None:
            os.kill(pid, signal.SIGKILL)

    def ask_to_end(self, number: signal.Signals, down_s: float = 0.0) -> None:
        """Send the parent a signal on which it should end, and see that everything of it did."""
        self.not_before = time.monotonic() + down_s
        tree = self.tree()
        if not tree:
            return
        _send(tree[0], number)
        if self._reap(tree, STOP_SECONDS):
            self.own_exits += 1  # it had to be killed: an order to stop that is not followed
            self.kill(down_s)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop it and its children for the block, as a paused virtual machine would be."""
        tree = self.tree()
        for process in tree:
            _send(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in tree:
                _send(process, signal.SIGCONT)

    def _reap(self, tree: list[psutil.Process], patience: float = 5.0) -> bool:
        """Wait until all of them ended; return whether any did not. Children that only wait to be told are killed."""
        if self._process is not None:
            try:
                self._process.wait(patience)
            except subprocess.TimeoutExpired:
                return True
        deadline = time.monotonic() + 1.0
        while alive := [process for process in tree[1:] if _runs(process)]:
            if time.monotonic() > deadline:
                for process in alive:
                    _send(process, signal.SIGKILL)
            time.sleep(0.005)
        return False


def _runs(process: psutil.Process) -> bool:
    """Return whether it still runs; one that ended and that nobody has collected yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        pass


class Celery(ServerProcess):
    """A Celery worker, or beat: apart, as in a deployment, since a worker does not start a beat inside it again."""

    def __init__(self, name: str, environment: dict[str, str], options: Sequence[str]) -> None:
        self.name = name
        super().__init__()
        self._environment, self._options = environment, options

    def _command(self) -> list[str]:
        variables = [f"--unset={name}" for name in HERMETIC if name not in self._environment]
        variables += [f"{name}={value}" for name, value in self._environment.items()]
        celery = [sys.executable, "-m", "celery", "-A", "riskapp", self.name, "--loglevel=WARNING", *self._options]
        return ["env", "-C", str(ROOT), *variables, *celery]

    def _answers(self) -> bool:
        return True  # nobody waits for it: what it has to do is in the database


class Stack:
    """A fresh DATA_DIR with everything that runs around it.

    Args:
        database: sqlite or postgres.
    """

    def __init__(self, database: str) -> None:
        self.database = database
        self.data_dir = short_directory("riskapp-chaos-")
        self.postgres: PostgresServer | None = None
        self.proxies: dict[str, Proxy] = {}
        self.parts: dict[str, Supervised] = {}
        self._closing: list[ServerProcess] = []
        try:
            self._install()
        except BaseException:
            self.close()
            raise

    def _install(self) -> None:
        broker = self._owned(RedisServer())
        self.proxies["redis"] = Proxy(path=str(broker.socket_path))
        self.parts["redis"] = Supervised(broker)
        self.redis_socket = broker.socket_path
        self.direct_url = f"sqlite:///{self.data_dir / 'riskapp.sqlite3'}"
        through_proxy = self.direct_url
        if self.database == POSTGRES:
            # Durable, as the product asks for: the server refuses to start where a commit may be lost.
            self.postgres = postgres = self._owned(PostgresServer(durable=True))
            postgres.start()
            self.direct_url = create_database(postgres.url)
            parts = urlsplit(self.direct_url)
            self.proxies["postgres"] = proxy = Proxy(port=parts.port or 5432)
            through_proxy = parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{proxy.port}")).geturl()
            postgres.stop()
            self.parts["postgres"] = Supervised(postgres)
        self.environment = {
            "DATA_DIR": str(self.data_dir),
            "DATABASE_URL": through_proxy,
            "REDIS_URL": f"redis://127.0.0.1:{self.proxies['redis'].port}/0",
            "DJANGO_SETTINGS_MODULE": "riskapp.settings",
            "SECRET_KEY": secrets.token_urlsafe(48),
        }
        self.parts["redis"].launch()
        if self.postgres is not None:
            self.parts["postgres"].launch()
            _wait_until(self.postgres.answers, "PostgreSQL")
        self.manage("migrate", "--verbosity", "0")
        self.key = self.manage("create_api_key", "--name", "chaos", "--scopes", SCOPES)
        command = [sys.executable, str(ROOT / "manage.py"), "serve", "--host", "127.0.0.1", "--port", "{port}"]
        environment: dict[str, str | None] = {**dict.fromkeys(HERMETIC), **self.environment}
        self.web = self._owned(WebServer("web", command, environment=environment, ready_path="/readyz"))
        self.proxies["web"] = Proxy(port=self.web.port)
        self.parts["web"] = Supervised(self.web)
        options = ("--concurrency=1", "--without-gossip", "--without-mingle")
        self.parts["worker"] = Supervised(self._owned(Celery("worker", self.environment, options)))
        self.parts["beat"] = Supervised(self._owned(Celery("beat", self.environment, ())))

    def _owned(self, server):
        self._closing.append(server)
        return server

    # --- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start what does not run yet, and return once the server is ready."""
        for part in self.parts.values():
            if not part.is_running:
                part.launch()
        self.wait_ready()

    def look_after(self) -> None:
        """Start again what died."""
        for part in self.parts.values():
            part.look_after()

    def wait_ready(self) -> None:
        """Return once the server takes requests, starting again what dies meanwhile.

        Raises:
            ServerUnavailable: it does not within READY_SECONDS.
        """
        deadline = time.monotonic() + READY_SECONDS
        while not (self.parts["web"].is_running and self.web.answers()):
            if time.monotonic() > deadline:
                raise ServerUnavailable(f"the server is not ready after {READY_SECONDS:g} s:\n{self.web.log_end()}")
            self.look_after()
            time.sleep(0.02)

    def mend(self) -> None:
        """Take every disturbance away; what is dead starts with the next `look_after`."""
        for proxy in self.proxies.values():
            proxy.mend()
        for part in self.parts.values():
            part.not_before = min(part.not_before, time.monotonic())

    def own_exits(self) -> Counter[str]:
        """Return how often each part ended though nobody killed it."""
        return Counter({name: part.own_exits for name, part in self.parts.items() if part.own_exits})

    def logs(self) -> Iterator[tuple[str, bytes]]:
        """Yield what each process has printed."""
        for server in self._closing:
            if server.log_file.exists():
                yield server.name, server.log_file.read_bytes()

    def redis_dump(self) -> bytes:
        """Return all keys and values of Redis, serialised."""
        with redis.Redis.from_url(f"unix://{self.redis_socket}", socket_timeout=10) as client:
            return b"\n".join(key + b" " + (client.dump(key) or b"") for key in client.scan_iter("*"))

    def close(self) -> None:
        """End all processes and remove all files."""
        for name in ("beat", "worker", "web", "redis", "postgres"):
            if name in self.parts:
                self.parts[name].kill(down_s=3600)
        for proxy in self.proxies.values():
            proxy.close()
        for server in self._closing:
            server.close()
        shutil.rmtree(self.data_dir, ignore_errors=True)

    def manage(self, *arguments: str) -> str:
        """Run a management command and return what it printed."""
        environment = {name: value for name, value in os.environ.items() if name not in HERMETIC} | self.environment
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise ServerUnavailable(f"manage.py {arguments[0]} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout.strip()


def _wait_until(condition, what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ServerUnavailable(f"{what} does not answer within {seconds:g} s")
        time.sleep(0.02)
