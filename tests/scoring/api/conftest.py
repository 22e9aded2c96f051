"""The API on an empty ledger: both ways to it, and a key with every scope."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from scoring.api.keys import create_key, key_cache
from scoring.decisions.runtime import discard_engine
from scoring.decisions.service import stop_engine_service
from scoring.metrics import close_metrics
from scoring.models import Alert, ApiKey, AuditEntry, Decision, Label, OutboxEvent
from scoring.models.api_key import SCOPES
from scoring.protection.guards import discard_guards
from tests.scoring.api.clients import WAYS, ApiClient
from tests.scoring.decisions.conftest import make_builtin_rules_live, make_champion, payment

__all__ = ["make_champion", "payment"]


@pytest.fixture
def ledger(transactional_db, settings, tmp_path) -> Iterator[None]:
    """An empty ledger with the built-in rules, and an engine thread that ends with the test."""
    key_cache.__init__()
    settings.METRICS_DIR = tmp_path / "metrics"  # totals outlive an engine, which a test must not see
    make_builtin_rules_live()
    yield
    stop_engine_service()
    discard_engine()
    close_metrics()
    discard_guards()
    # Views that run in the thread of sync_to_async leave their connection open there.
    asyncio.run(sync_to_async(connections.close_all)())


@pytest.fixture
def make_key(ledger) -> Callable[..., str]:
    """`make_key("decisions:read", ...)` returns a new key with these scopes."""
    return lambda *scopes: create_key("test", list(scopes))


@pytest.fixture(params=sorted(WAYS))
def api(request: pytest.FixtureRequest, make_key) -> ApiClient:
    """A client whose key has every scope; each test runs both ways."""
    return WAYS[request.param](make_key(*SCOPES))


@pytest.fixture
def django_api(make_key) -> ApiClient:
    return WAYS["django"](make_key(*SCOPES))


@pytest.fixture
def asgi_api(make_key) -> ApiClient:
    return WAYS["asgi"](make_key(*SCOPES))


def stored() -> dict[str, int]:
    """Return how many rows each table holds that a request could write to."""
    tables = (Decision, Label, OutboxEvent, Alert, AuditEntry, ApiKey)
    return {table.__name__: table.objects.count() for table in tables}
