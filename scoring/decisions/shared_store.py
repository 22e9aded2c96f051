"""Which feature state a process has: windows of its own, or windows that follow a log which several processes share."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection

from scoring.features.shared.shared_log import LogLimits, SharedLog

LOCAL, REDIS = "local", "redis"


def open_shared_log() -> SharedLog | None:
    """Return the log that this database's processes share; None where the feature state is this process's own."""
    if settings.STATE_STORE == LOCAL:
        return None
    limits = LogLimits(
        budget_ms=settings.STATE_STORE_BUDGET_MS,
        member_ttl_s=settings.STATE_STORE_MEMBER_SECONDS,
        max_log_bytes=settings.STATE_STORE_LOG_MB << 20,
    )
    return SharedLog(settings.STATE_STORE_URL, database_identity(), limits=limits)


def store_identity() -> str:
    """Return what all processes on one database must agree on, without secrets: "local", or which log they share."""
    if settings.STATE_STORE == LOCAL:
        return LOCAL
    url = urlsplit(settings.STATE_STORE_URL)
    return f"{REDIS} {url.hostname or ''}:{url.port or ''}{url.path}"


def database_file() -> Path | None:
    """Return SQLite's file; None where the database lives in memory."""
    name = str(connection.settings_dict["NAME"])
    return None if name.startswith(":memory:") or "mode=memory" in name else Path(name)


def database_identity() -> str:
    """Return a name of this database that is the same in every process, by whatever address it reaches it.

    It is part of the log's name: one Redis may serve several databases, and their events must not mix.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT (SELECT system_identifier FROM pg_control_system()), oid "
                "FROM pg_database WHERE datname = current_database()"
            )
            cluster, database = cursor.fetchone()
        return f"pg-{cluster}-{database}"
    path = database_file()
    where = f"{os.uname().nodename}:{path.resolve()}" if path else f"{os.uname().nodename}:{os.getpid()}:memory"
    return f"sqlite-{hashlib.sha256(where.encode()).hexdigest()[:16]}"
