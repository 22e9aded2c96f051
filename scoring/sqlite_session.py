"""The sessions that this application opens in SQLite; riskapp/settings.py names them to Django."""

from __future__ import annotations

import sqlite3
from typing import Any


class SqliteSession(sqlite3.Connection):
    """A session that closes the writer that was opened in it, before it closes itself: SQLite keeps a database open for as
    long as statements are held in it.

    Attributes:
        writer: scoring.engine.RowWriter, once rows were written.
    """

    writer: Any = None

    def close(self) -> None:
        """Close the writer and the session."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None
        super().close()
