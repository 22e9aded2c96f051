"""The sessions that this application opens in SQLite; riskapp/settings.py names them to Django."""

from __future__ import annotations

import os
import sqlite3
from typing import Any


class SqliteSession(sqlite3.Connection):
    """A session that closes the writer that was opened in it, before it closes itself: SQLite keeps a database open for as
    long as statements are held in it.

    Attributes:
        writer: scoring.engine.RowWriter, once rows were written.
    """

    writer: Any = None

    def __init__(self, database: str, *arguments: Any, **options: Any) -> None:
        # Others than paths are the tests' databases in memory, which have no log.
        if options.get("uri") and os.path.isabs(database):
            from scoring.engine import table_rows  # the settings name this class before there is anything else

            database = table_rows.address_to_write_at(database)
        super().__init__(database, *arguments, **options)

    def close_writer(self) -> None:
        """Let the next writer look anew at how the session is set."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None

    def close(self) -> None:
        """Close the writer and the session."""
        self.close_writer()
        super().close()
