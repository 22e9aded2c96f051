"""The connection of a thread that lives long, and that Django's signals therefore do not look after."""

from __future__ import annotations

from django.db import connection


def commit_at_leisure() -> None:
    """Let commits of this thread's session return before they are on disk: for what can be worked out again.

    Such a commit is on disk with the next one of any session that waits, as both go through one log. On SQLite, a thread
    that waited for the disk would keep the decisions waiting for their turn.
    """
    if connection.vendor == "sqlite":
        connection.ensure_connection()
        connection.connection.close_writer()
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off" if connection.vendor == "postgresql" else "PRAGMA synchronous = NORMAL")


def drop_broken_connection() -> None:
    """Close this thread's connection if it broke, so that the next use opens another; a good one is kept.

    Django closes connections at the end of each request (CONN_MAX_AGE 0), which it has to: under ASGI each request runs
    in a thread of its own, and a connection that were kept would be lost with the thread and never closed.
    """
    if connection.connection is None or not connection.errors_occurred:
        return
    if connection.is_usable():
        connection.errors_occurred = False
    else:
        connection.close()
