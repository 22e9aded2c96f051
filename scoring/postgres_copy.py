"""Streams of rows into PostgreSQL by COPY, on libpq itself.

psycopg's own COPY takes one statement, which with BEGIN and COMMIT around it is four round trips, and a generator a step.
Statements that are sent together are one transaction where the session is in none: two round trips, and one more for each
further table.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import pq
from psycopg.errors import error_from_result

# libpq takes a piece into its memory before it sends; of any size, but not a whole stream of any size.
_PIECE = 1 << 20


def copy_in(session: psycopg.Connection, streams: Sequence[tuple[str, memoryview]]) -> None:
    """Send each stream to its COPY statement; all are stored, or none is.

    Args:
        streams: (COPY ... FROM STDIN, what it is to read); the statements may not hold a semicolon.

    Raises:
        psycopg.Error: the server refuses a row, or cannot be reached.
    """
    server = session.pgconn
    try:
        server.send_query(";".join([statement for statement, _ in streams]).encode())
        for _, stream in streams:
            _expect(server, pq.ExecStatus.COPY_IN)
            for start in range(0, len(stream), _PIECE):
                _until(server, lambda piece=stream[start : start + _PIECE]: server.put_copy_data(piece))
            _until(server, server.put_copy_end)
            _expect(server, pq.ExecStatus.COMMAND_OK)
        _next_result(server)  # none: the session is at rest again
    except BaseException:
        if server.transaction_status == pq.TransactionStatus.ACTIVE:
            session.close()  # in the middle of a stream it is of no more use
        raise


def _until(server: Any, put: Any) -> None:
    """Repeat until libpq takes it; it does not while what it holds already cannot be sent."""
    while not put():
        _wait(server, select.POLLOUT)
        server.flush()


def _expect(server: Any, status: int) -> None:
    """Wait for a statement's result; what it says instead is raised, with the session at rest."""
    result = _next_result(server)
    if result is not None and result.status == status:
        return
    while result is not None and _next_result(server) is not None:
        pass
    if result is None:
        raise psycopg.OperationalError("the server ended a COPY without a result")
    raise error_from_result(result)


def _next_result(server: Any) -> Any:
    """Send what is left and wait for the next result, with the interpreter's lock given away; None where there is none."""
    while server.flush():
        _wait(server, select.POLLOUT | select.POLLIN)
        server.consume_input()
    while server.is_busy():
        _wait(server, select.POLLIN)
        server.consume_input()
    return server.get_result()


def _wait(server: Any, events: int) -> None:
    waiting = select.poll()
    waiting.register(server.socket, events)
    waiting.poll()
