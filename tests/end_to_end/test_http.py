"""Requests as a careless or hostile client sends them, over real sockets: each is answered, and the server goes on."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import pytest

from tests.end_to_end.test_killed_server import payment

URL = "/api/v1/decisions"


@pytest.fixture
def talk(server, key) -> Callable[..., tuple[int, dict[str, str], bytes]]:
    """`talk(head, body)` sends raw bytes on a connection of its own and returns (status, headers, body)."""
    server.start()

    def send(head: str, body: bytes = b"", *, finish: bool = False) -> tuple[int, dict[str, str], bytes]:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            raw = head.format(key=key).replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n"
            try:
                connection.sendall(raw + body)
                if finish:
                    connection.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass  # answered before all was sent
            return _answer(connection)

    return send


def _answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    with connection.makefile("rb") as stream:
        status = stream.readline()
        if not status:
            return 0, {}, b""
        headers = {}
        while (line := stream.readline().strip()) and b":" in line:
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return int(status.split()[1]), headers, stream.read(int(headers.get("content-length", 0)))


HEAD = f"POST {URL} HTTP/1.1\nHost: 127.0.0.1\nAuthorization: Bearer {{key}}\nContent-Type: application/json\n"


def chunks(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def test_odd_requests_are_answered_and_the_server_goes_on(server, key, talk):
    body = json.dumps(payment("t1")).encode()
    good = talk(HEAD + f"Content-Length: {len(body)}", body)
    assert good[0] == 200

    assert talk(HEAD + "Transfer-Encoding: chunked", chunks(body[:7], body[7:]))[2] == good[2], "in parts of unknown length"
    assert talk(HEAD + f"Expect: 100-continue\nContent-Length: {len(body)}", body)[0] in (100, 200)
    assert talk(HEAD.replace("Host: 127.0.0.1\n", "Host: another.example\n") + f"Content-Length: {len(body)}", body)[0] in (
        200,
        400,
    )

    for description, answer in {
        "a body far beyond the limit": talk(HEAD + "Content-Length: 5000000", b" " * 5_000_000),
        "the same in parts": talk(HEAD + "Transfer-Encoding: chunked", chunks(*[b" " * 50_000] * 100)),
        "a length beyond the limit, and nothing sent": talk(HEAD + "Content-Length: 1000000000"),
    }.items():
        status, headers, problem = answer
        assert (status, json.loads(problem)["code"]) == (413, "body_too_large"), description
        assert headers["content-type"] == "application/problem+json"

    for description, head in {
        "a length that is no number": HEAD + "Content-Length: many",
        "a negative length": HEAD + "Content-Length: -5",
        "two lengths": HEAD + "Content-Length: 5\nContent-Length: 6",
        "a line break in a header": HEAD + "X-Request-ID: a\n b: c\nContent-Length: 0",
        "a zero byte in a header": HEAD + "X-Request-ID: a\0b\nContent-Length: 0",
        "no HTTP at all": "hello",
        "a header of a megabyte": HEAD + f"X-Long: {'x' * 1_000_000}\nContent-Length: 0",
    }.items():
        assert talk(head)[0] in (0, 400, 413, 431), description

    for cut in (1, len(body) // 2, len(body) - 1):  # the client hangs up in the middle
        assert talk(HEAD + f"Content-Length: {len(body)}", body[:cut], finish=True)[0] in (0, 400)

    assert talk(HEAD + f"Content-Length: {len(body)}", body)[2] == good[2], "the server is as it was"
    status, page = server.request("GET", URL, key=key)
    assert status == 200 and len(json.loads(page)["decisions"]) == 1
    assert "Traceback" not in server.log.read_text()


def test_many_requests_on_one_connection_are_answered_in_order(server, key, talk):
    bodies = [json.dumps(payment(f"p{i}")).encode() for i in range(30)]
    head = HEAD.format(key=key).replace("\n", "\r\n")
    pipelined = b"".join((head + f"Content-Length: {len(body)}\r\n\r\n").encode() + body for body in bodies)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection, connection.makefile("rb") as stream:
        connection.sendall(pipelined)
        for i in range(30):
            assert stream.readline().split()[1] == b"200"
            length = 0
            while line := stream.readline().strip():
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            assert json.loads(stream.read(length))["transaction_id"] == f"p{i}"
