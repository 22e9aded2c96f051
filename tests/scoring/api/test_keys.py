"""API keys: on every endpoint, shown once, stored hashed, scoped, revocable."""

from __future__ import annotations

import hashlib
import io
import re

import pytest
from django.core.management import CommandError, call_command
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from scoring.api.keys import bearer_token, create_key, key_cache
from scoring.models import ApiKey, AuditEntry, Decision
from scoring.models.api_key import SCOPES
from tests.scoring.api.cases import each
from tests.scoring.api.clients import WAYS, ApiClient
from tests.scoring.api.conftest import payment, stored
from tests.scoring.api.documents import assert_problem

pytestmark = pytest.mark.django_db(transaction=True)

# What each address asks for; the sweep below fails for an address that is not listed here.
NEEDED = {
    ("POST", "/api/v1/decisions"): "decisions:write",
    ("GET", "/api/v1/decisions"): "decisions:read",
    ("POST", "/api/v1/decisions/batch"): "decisions:write",
    ("POST", "/api/v1/decisions/dry-run"): "decisions:write",
    ("GET", "/api/v1/decisions/x"): "decisions:read",
    ("GET", "/api/v1/decisions/x/explanation"): "decisions:read",
    ("POST", "/api/v1/labels"): "labels:write",
    ("GET", "/metrics"): "metrics:read",
    ("GET", "/api/v1/schema"): None,
    ("GET", "/api/v1/docs"): None,
    ("GET", "/api/v1/redoc"): None,
}
OPEN = {"/livez", "/readyz"}


def addresses() -> set[str]:
    """Return every address of the API and of operations, found in the URL configuration."""

    def walk(patterns: list, prefix: str):
        for pattern in patterns:
            route = prefix + re.sub(r"<[^>]+>", "x", str(pattern.pattern))
            if isinstance(pattern, URLResolver):
                # The dashboard is another application with its own tests of who may enter.
                if pattern.app_name != "admin_ui":
                    yield from walk(pattern.url_patterns, route)
            elif isinstance(pattern, URLPattern):
                yield "/" + route

    return set(walk(get_resolver().url_patterns, ""))


@pytest.fixture(params=sorted(WAYS))
def client(request, ledger) -> ApiClient:
    """A client without a key."""
    return WAYS[request.param]()


def call(client: ApiClient, method: str, path: str, key: str | None = None):
    client.key = key
    return client.send(method, path, b"{}" if method == "POST" else b"", {"content-type": "application/json"})


def test_every_address_is_known_to_the_sweep():
    assert addresses() == OPEN | {path for _, path in NEEDED}


@pytest.mark.parametrize(("method", "path"), NEEDED)
def test_without_a_valid_key_nothing_is_told(client, method, path):
    revoked = create_key("old", list(SCOPES))
    ApiKey.objects.update(revoked_at=timezone.now())
    live = create_key("live", list(SCOPES))
    before = stored()
    for key in (
        None,
        "",
        "wrong",
        "rk_",
        "rk__",
        live[:-1],
        live + "x",
        live.replace("rk_", "xx_"),
        "rk_000000000000_" + live.split("_", 2)[2],
        revoked,
    ):
        answer = call(client, method, path, key)
        assert_problem(answer, 401, "authentication_required")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert not key or key not in answer.body.decode()
    assert stored() == before


FORMS = ["Basic dXNlcjpwYXNz", "Bearer", "Bearer ", "Token {key}", "{key}", "Bearer {key} {key}", "Bearer,{key}", "Bearer \xe9"]


@each([(form, path) for form in FORMS for path in ("/api/v1/decisions", "/api/v1/labels")])
def test_another_form_of_the_header_is_no_key(client, header, path):
    sent = header.format(key=create_key("live", list(SCOPES)))
    assert_problem(
        client.send("POST", path, b"{}", {"content-type": "application/json", "authorization": sent}),
        401,
        "authentication_required",
    )


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_s_letters_may_be_of_any_case(client, scheme):
    key = create_key("live", ["decisions:read"])
    assert client.send("GET", "/api/v1/decisions", headers={"authorization": f"{scheme} {key}"}).status == 200


@pytest.mark.parametrize(("method", "path", "scope"), [(m, p, s) for (m, p), s in NEEDED.items() if s])
def test_a_key_does_only_what_its_scopes_say(client, method, path, scope):
    others = create_key("others", [name for name in SCOPES if name != scope])
    problem = assert_problem(call(client, method, path, others), 403, "scope_missing")
    assert scope in problem["detail"]
    assert Decision.objects.count() == 0
    assert call(client, method, path, create_key("this one", [scope])).status not in (401, 403)


@pytest.mark.parametrize("path", sorted(path for (_, path), scope in NEEDED.items() if scope is None))
def test_documents_need_any_key(client, path):
    assert call(client, "GET", path, create_key("any", ["labels:write"])).status == 200


@pytest.mark.parametrize("path", sorted(OPEN))
def test_health_needs_no_key(client, path):
    assert call(client, "GET", path).status in (200, 503)


@pytest.mark.any_database
def test_a_revoked_key_stops_within_the_time_that_it_is_remembered(client, settings):
    settings.API_KEY_CACHE_SECONDS = 0.0
    key = create_key("short", ["decisions:write"])
    client.key = key
    assert client.post("/api/v1/decisions", payment(1)).status == 200
    call_command("revoke_api_key", name="short", stdout=io.StringIO())
    assert_problem(client.post("/api/v1/decisions", payment(2)), 401, "authentication_required")
    assert Decision.objects.count() == 1


def test_a_verdict_is_remembered_no_longer_than_it_says(ledger, settings, monkeypatch):
    import scoring.api.keys as keys

    clock = [100.0]
    monkeypatch.setattr(keys.time, "monotonic", lambda: clock[0])
    settings.API_KEY_CACHE_SECONDS = 5.0
    key = create_key("short", ["decisions:write"])
    assert key_cache.client(key) is not None
    ApiKey.objects.update(revoked_at=timezone.now())
    clock[0] += 4.9
    assert key_cache.client(key) is not None
    clock[0] += 0.2
    assert key_cache.client(key) is None


# --- the keys themselves -------------------------------------------------------------------------------------------------


@pytest.mark.any_database
def test_a_key_is_stored_as_a_hash_only(ledger):
    key = create_key("bank", ["decisions:write"])
    _, prefix, secret = key.split("_", 2)
    row = ApiKey.objects.get()
    assert len(secret) >= 43, "256 random bits"
    assert (row.prefix, bytes(row.secret_hash), row.scopes) == (
        prefix,
        hashlib.sha256(secret.encode()).digest(),
        ["decisions:write"],
    )
    assert secret not in str(vars(row)) and secret not in str(row)


def test_keys_differ(ledger):
    assert len({create_key("bank", []) for _ in range(20)}) == 20


@pytest.mark.any_database
def test_the_command_prints_the_key_once_and_writes_who_made_it(ledger):
    out = io.StringIO()
    call_command("create_api_key", name="bank", scopes="decisions:write, labels:write", stdout=out)
    key = out.getvalue().strip()
    assert out.getvalue() == key + "\n" and key_cache.client(key).scopes == {"decisions:write", "labels:write"}
    entry = AuditEntry.objects.get(action="api_key.create")
    assert entry.subject == "bank" and key not in str(entry.details) and key.split("_", 2)[2] not in str(entry.details)


def test_the_command_refuses_an_unknown_scope(ledger):
    with pytest.raises(CommandError, match="there is no scope everything"):
        call_command("create_api_key", name="bank", scopes="everything", stdout=io.StringIO())
    assert ApiKey.objects.count() == 0


def test_revoking_a_key_that_is_not_there_is_told(ledger):
    with pytest.raises(CommandError, match="no live key"):
        call_command("revoke_api_key", name="nobody", stdout=io.StringIO())


def test_guesses_do_not_fill_the_memory(ledger, monkeypatch):
    import scoring.api.keys as keys

    monkeypatch.setattr(keys, "_MAX_REMEMBERED", 50)
    for i in range(200):
        key_cache.client(f"guess-{i}")
    assert len(key_cache._known) <= 50


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Bearer", None), ("", None), ("Basic abc", None), ("Bearer ", None)],
)
def test_reading_the_header(header, token):
    assert (bearer_token(header) or None) == token
