"""The engine of this process, built on first use."""

from __future__ import annotations

import threading

from scoring.decisions.engine import DecisionEngine
from scoring.decisions.ownership import release_database

_lock = threading.Lock()
_engine: DecisionEngine | None = None


def get_engine() -> DecisionEngine:
    """Return this process's engine, starting it the first time (which reads the ledger)."""
    global _engine
    with _lock:
        if _engine is None:
            engine = DecisionEngine()
            engine.start()
            _engine = engine
    return _engine


def discard_engine() -> None:
    """Forget the engine, so that the next use starts from the database (tests, and commands that change the ledger)."""
    global _engine
    with _lock:
        if _engine is not None:
            _engine.close()
        _engine = None
        release_database()
