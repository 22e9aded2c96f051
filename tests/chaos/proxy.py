"""A TCP proxy that can be told to misbehave: latency, resets, silence, fragments, and traps at chosen bytes.

It stands between the clients and the server, and between our processes and PostgreSQL and Redis. A trap waits for bytes
in one direction, such as the end of a COPY on its way to PostgreSQL, and calls back right there: that is how a process is killed
at a named point without a line of the product knowing of it.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

CHUNK = 1 << 16
UPSTREAM, DOWNSTREAM = "upstream", "downstream"  # towards the server, towards the caller
FORWARD, DROP, HALVE = "forward", "drop", "halve"


@dataclass
class Trap:
    """One shot: what to do when bytes that match `needle` pass.

    Attributes:
        action: called in the proxy's thread, in the middle of the transfer; it must not block.
        deliver: FORWARD passes the bytes on before the action; DROP and HALVE lose all or half of them, and then reset
            both sides of that connection.
        sprung: set when it happened.
    """

    direction: str
    needle: re.Pattern[bytes]
    action: Callable[[], None]
    deliver: str = FORWARD
    sprung: threading.Event = field(default_factory=threading.Event)


class Proxy:
    """Listens on a loopback port of its own from the first moment on, whether or not the server behind it runs.

    Args:
        host, port: the server behind it.
        path: its Unix socket instead.
    """

    def __init__(self, *, port: int = 0, path: str | None = None, host: str = "127.0.0.1") -> None:
        self._host, self._port, self._path = host, port, path
        self.latency_s = 0.0
        self.fragment_bytes = 0
        self.resets = 0
        self._trap: Trap | None = None
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()  # cleared: nothing is passed on, and nobody is told
        self._open.set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    # --- for other threads -----------------------------------------------------------------------------------------

    def reset_all(self) -> int:
        """Reset each connection, towards both sides; return how many there were."""
        return self._wait_for(self._reset_all)

    def silence(self) -> None:
        """Pass nothing on from now on, as when packets are lost on the way: both sides stay connected and hear nothing."""
        self._wait_for(self._open.clear)

    def mend(self) -> None:
        """Pass everything on again at once; traps are gone."""
        self.latency_s, self.fragment_bytes, self._trap = 0.0, 0, None
        self._wait_for(self._open.set)

    def set_trap(self, trap: Trap) -> None:
        """Wait for the bytes that `trap` names; one trap at a time."""
        self._trap = trap

    def close(self) -> None:
        """Close all connections and end the thread."""
        self._wait_for(self._reset_all)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._listener.close()

    def _wait_for(self, function: Callable[[], object]):
        async def call():
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(5)

    # --- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, sock=self._listener))
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._path is not None:
                back_reader, back_writer = await asyncio.open_unix_connection(self._path)
            else:
                back_reader, back_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            _reset(writer)  # nobody listens there: the caller is to learn that at once
            return
        connection = _Connection(writer, back_writer)
        self._connections.add(connection)
        try:
            await asyncio.gather(
                self._pump(UPSTREAM, reader, back_writer, connection),
                self._pump(DOWNSTREAM, back_reader, writer, connection),
            )
        except (OSError, asyncio.CancelledError):
            connection.reset()
        finally:
            connection.close()
            self._connections.discard(connection)

    async def _pump(self, direction: str, reader, writer, connection: _Connection) -> None:
        while data := await reader.read(CHUNK):
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
            await self._open.wait()
            trap = self._take_trap(direction, data)
            if trap is not None and trap.deliver != FORWARD:
                if trap.deliver == HALVE:
                    await _write(writer, data[: len(data) // 2])
                _spring(trap)
                self.resets += 1
                raise ConnectionResetError
            await self._pass_on(writer, data)
            if trap is not None:
                _spring(trap)
        if writer.can_write_eof():
            writer.write_eof()

    async def _pass_on(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        size = self.fragment_bytes or len(data)
        for start in range(0, len(data), size):
            await _write(writer, data[start : start + size])
            if size < len(data):
                await asyncio.sleep(0)

    def _take_trap(self, direction: str, data: bytes) -> Trap | None:
        trap = self._trap
        if trap is None or trap.direction != direction or not trap.needle.search(data):
            return None
        self._trap = None
        return trap

    def _reset_all(self) -> int:
        count = len(self._connections)
        for connection in list(self._connections):
            connection.reset()
        self.resets += count
        return count


class _Connection:
    """The two sides of one connection."""

    def __init__(self, front: asyncio.StreamWriter, back: asyncio.StreamWriter) -> None:
        self._writers = (front, back)

    def reset(self) -> None:
        for writer in self._writers:
            _reset(writer)

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


def _spring(trap: Trap) -> None:
    trap.action()
    trap.sprung.set()


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a RST, which discards what is on its way."""
    raw = writer.transport.get_extra_info("socket")
    if raw is not None and raw.fileno() != -1 and raw.family != socket.AF_UNIX:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
