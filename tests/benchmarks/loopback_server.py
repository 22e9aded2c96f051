"""A tiny HTTP server on 127.0.0.1 whose every answer is known, to test the load generator against."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ANSWERS = {
    "/ok": OK,
    "/delayed": OK,
    "/one-at-a-time": OK,
    "/chunked": b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1A\r\n"
    + b"z" * 26
    + b"\r\n0\r\nX-T: 1\r\n\r\n",
    "/interim": b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    "/empty": b"HTTP/1.1 204 No Content\r\n\r\n",
    "/busy": b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy",
    "/closing": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    "/until-close": b"HTTP/1.1 200 OK\r\n\r\nall of it",
    "/cut-off": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
    "/nonsense": b"SMTP ready\r\n\r\n",
    "/silent": b"",
}
CLOSES = {"/closing", "/until-close", "/cut-off"}
DELAY_S = 0.05
SERVICE_S = 0.01


@dataclass
class LoopbackServer:
    """What arrived: the bodies, the last request's headers, and how many connections were opened."""

    port: int = 0
    bodies: list[bytes] = field(default_factory=list)
    headers: bytes = b""
    connections: int = 0
    one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the generator has closed its side
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        self.headers = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in self.headers.split(b"\r\n")[1:] if line)
        self.bodies.append(await reader.readexactly(int(fields[b"Content-Length"])))
        path = self.headers.split(b" ")[1].decode()
        if path == "/delayed":
            await asyncio.sleep(DELAY_S)
        if path == "/one-at-a-time":
            async with self.one_at_a_time:
                await asyncio.sleep(SERVICE_S)
        # In two parts, so that the generator sees answers that are cut anywhere.
        answer = ANSWERS[path]
        writer.write(answer[:31])
        await writer.drain()
        if path == "/chunked":
            await asyncio.sleep(0)
        writer.write(answer[31:])
        return path not in CLOSES


@contextmanager
def loopback_server() -> Iterator[LoopbackServer]:
    """Serve in a thread for the block."""
    loop = asyncio.new_event_loop()
    state = LoopbackServer()
    server = loop.run_until_complete(asyncio.start_server(state.serve, "127.0.0.1", 0, backlog=256))
    state.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield state
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
