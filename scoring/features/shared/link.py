"""A connection to Redis that runs one script a call within a time budget."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import redis

from scoring.features.shared.errors import SharedLogUnavailable

_FOLDER = Path(__file__).parent


@cache
def script(name: str) -> tuple[bytes, bytes]:
    """Return (SHA-1 as EVALSHA takes it, source) of the script `<name>.lua`."""
    source = (_FOLDER / f"{name}.lua").read_bytes()
    return hashlib.sha1(source, usedforsecurity=False).hexdigest().encode(), source


class Link:
    """One connection, used by one thread at a time. It connects on use, and after a failure anew at the next use.

    Args:
        url: as REDIS_URL: redis://, rediss://, unix:// or redis+socket://.
        timeout_s: for connecting and for each answer.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        # The pool is used for reading the URL alone: a call through it costs several times the call itself.
        self._connection = redis.ConnectionPool.from_url(
            url.replace("redis+socket://", "unix://", 1),
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            protocol=2,
            retry=None,
        ).make_connection()
        self._open = False

    def run(self, name: str, keys: Sequence[bytes], arguments: Sequence[bytes]) -> list[Any]:
        """Run the script `<name>.lua` and return its answer.

        Raises:
            SharedLogUnavailable: no answer in time, or an error of the server.
        """
        was_open = self._open
        try:
            try:
                return self._evaluate(name, keys, arguments)
            except redis.ConnectionError:
                if not was_open:
                    raise
                # A connection that was closed while nobody used it; the scripts do no harm when they run twice.
                self.close()
                return self._evaluate(name, keys, arguments)
        except (redis.RedisError, OSError) as error:
            # The text of an answer could hold what was sent; its kind says enough.
            self.close()
            raise SharedLogUnavailable(f"{type(error).__name__} while running {name}") from error

    def _evaluate(self, name: str, keys: Sequence[bytes], arguments: Sequence[bytes]) -> list[Any]:
        sha, source = script(name)
        try:
            return self._call(b"EVALSHA", sha, keys, arguments)
        except redis.exceptions.NoScriptError:
            return self._call(b"EVAL", source, keys, arguments)

    def _call(self, command: bytes, what: bytes, keys: Sequence[bytes], arguments: Sequence[bytes]) -> list[Any]:
        connection = self._connection
        if not self._open:
            connection.connect()
            self._open = True
        connection.send_packed_command(_pack([command, what, b"%d" % len(keys), *keys, *arguments]), check_health=False)
        return connection.read_response(disable_decoding=True)

    def close(self) -> None:
        """Drop the connection: an answer that comes too late must not be taken for the next one."""
        self._open = False
        self._connection.disconnect()


def _pack(parts: Sequence[bytes]) -> list[bytes]:
    """Return a command as RESP writes it."""
    packed = [b"*%d\r\n" % len(parts)]
    for part in parts:
        packed += (b"$%d\r\n" % len(part), part, b"\r\n")
    return [b"".join(packed)]
