"""The faulty network does what it is told, and nothing else."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from tests.chaos.proxy import DOWNSTREAM, DROP, FORWARD, HALVE, UPSTREAM, Proxy, Trap


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with closing(connection), suppress(OSError):
            while data := connection.recv(65_536):
                connection.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    made = Proxy(port=echo)
    yield made
    made.close()


@pytest.fixture
def caller(proxy: Proxy) -> Iterator[socket.socket]:
    with closing(socket.create_connection(("127.0.0.1", proxy.port), timeout=5)) as connection:
        yield connection


def receive(connection: socket.socket, count: int) -> bytes:
    """Return `count` bytes, or fewer where the connection ended."""
    data = b""
    while len(data) < count and (part := connection.recv(65_536)):
        data += part
    return data


def test_bytes_pass_unchanged_in_both_directions(proxy, caller):
    text = bytes(range(256)) * 2_000
    threading.Thread(target=caller.sendall, args=(text,), daemon=True).start()
    assert receive(caller, len(text)) == text


def test_fragments_arrive_complete(proxy, caller):
    proxy.fragment_bytes = 7
    caller.sendall(b"abc" * 1_000)
    assert receive(caller, 3_000) == b"abc" * 1_000


def test_latency_delays(proxy, caller):
    proxy.latency_s = 0.05
    began = time.monotonic()
    caller.sendall(b"x")
    assert receive(caller, 1) == b"x" and time.monotonic() - began >= 0.1  # there and back


def test_silence_keeps_the_connection_and_ends(proxy, caller):
    proxy.silence()
    caller.sendall(b"x")
    caller.settimeout(0.2)
    with pytest.raises(TimeoutError):
        caller.recv(1)
    proxy.mend()
    caller.settimeout(5)
    assert receive(caller, 1) == b"x"


def test_a_reset_is_felt_by_the_caller_and_the_next_connection_works(proxy, caller):
    caller.sendall(b"x")
    assert receive(caller, 1) == b"x"
    assert proxy.reset_all() == 1
    with pytest.raises(ConnectionResetError):
        caller.recv(1)
    with closing(socket.create_connection(("127.0.0.1", proxy.port), timeout=5)) as again:
        again.sendall(b"y")
        assert receive(again, 1) == b"y"


def test_a_caller_learns_at_once_that_nobody_listens(proxy):
    with closing(socket.create_server(("127.0.0.1", 0))) as unused:
        port = unused.getsockname()[1]
    lonely = Proxy(port=port)
    try:
        with pytest.raises(ConnectionResetError):  # now and then the reset is there before `connect` returns
            with closing(socket.create_connection(("127.0.0.1", lonely.port), timeout=5)) as caller:
                caller.recv(1)
    finally:
        lonely.close()


@pytest.mark.parametrize(
    ("direction", "deliver", "arrives"),
    [
        (UPSTREAM, FORWARD, b"say WORD!!"),
        (DOWNSTREAM, FORWARD, b"say WORD!!"),
        (UPSTREAM, DROP, b""),
        (DOWNSTREAM, DROP, b""),
        (UPSTREAM, HALVE, b""),  # the half came back too late: the connection is gone
        (DOWNSTREAM, HALVE, b"say W"),
    ],
)
def test_a_trap_springs_once_at_its_word(proxy, caller, direction, deliver, arrives):
    sprung = []
    trap = Trap(direction, re.compile(b"WORD"), lambda: sprung.append(1), deliver)
    proxy.set_trap(trap)
    caller.sendall(b"other")
    assert receive(caller, 5) == b"other" and not trap.sprung.is_set()
    caller.sendall(b"say WORD!!")
    received = b""
    with suppress(ConnectionResetError):
        received = receive(caller, 10)
    assert trap.sprung.wait(5) and sprung == [1]
    # A reset may overtake what was delivered before it.
    assert received == arrives or (deliver == HALVE and received == b"")
    if deliver == FORWARD:
        caller.sendall(b"WORD")
        assert receive(caller, 4) == b"WORD" and sprung == [1]
