"""Turns at writing to the database within one process.

SQLite has one writer at a time, and one that has to wait for another sleeps in steps of milliseconds. Threads of this
process take turns by a lock instead, which wakes them at once. PostgreSQL needs none of it, and a turn costs it nothing.
"""

from __future__ import annotations

import threading

_turn = threading.RLock()


def ledger_turn() -> threading.RLock:
    """Return the lock that whoever writes from a serving process holds for the time of one short transaction."""
    return _turn
