"""API keys: making, finding and remembering them for a few seconds."""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
import time
from dataclasses import dataclass

from django.conf import settings

from scoring.models import ApiKey
from scoring.models.api_key import SCOPES

_PREFIX_LENGTH = 12
_MAX_REMEMBERED = 10_000


@dataclass(frozen=True)
class Client:
    """Who is calling: a key's name, what it may do, and how much of it.

    `caller` names the key in the rate limits; the two figures are the key's own, None where the settings' hold.
    """

    name: str
    scopes: frozenset[str]
    caller: str = ""
    rate_per_second: float | None = None
    rate_burst: int | None = None

    # What Django and DRF ask of a user.
    is_authenticated = True
    is_active = True


def create_key(name: str, scopes: list[str], *, rate_per_second: float | None = None, rate_burst: int | None = None) -> str:
    """Store a new key and return it; this is the only time that it can be seen.

    Args:
        rate_per_second: decisions a second that this key may ask for; 0 is no limit, None that of the settings.
        rate_burst: decisions at once; None is what a second lets through.

    Raises:
        ValueError: a scope is not known, or a limit makes no sense.
    """
    if rate_per_second is not None and not 0 <= rate_per_second < math.inf:
        raise ValueError(f"the rate must be 0 (no limit) or more decisions a second; got {rate_per_second}")
    if rate_burst is not None and rate_burst < 1:
        raise ValueError(f"the burst must be at least 1 decision; got {rate_burst}")
    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise ValueError(f"there is no scope {', '.join(unknown)}; the scopes are {', '.join(SCOPES)}")
    prefix, secret = secrets.token_hex(_PREFIX_LENGTH // 2), secrets.token_urlsafe(32)
    ApiKey.objects.create(
        name=name,
        prefix=prefix,
        secret_hash=_hash(secret),
        scopes=sorted(scopes),
        rate_per_second=rate_per_second,
        rate_burst=rate_burst,
    )
    return f"rk_{prefix}_{secret}"


def _hash(secret: str) -> bytes:
    # The secret has 256 random bits, so that a plain digest cannot be searched; a password hash would cost milliseconds.
    return hashlib.sha256(secret.encode()).digest()


class KeyCache:
    """Remembers verified and refused keys for API_KEY_CACHE_SECONDS, which bounds how long a revoked key still works."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Client | None]] = {}
        self._tokens: dict[str, str] = {}  # the header that a good key came in -> the key

    def remembered(self, token: str) -> tuple[bool, Client | None]:
        """Return (whether the verdict is known, the client or None) without touching the database."""
        found = self._known.get(token)
        if found is None or found[0] < time.monotonic():
            return False, None
        return True, found[1]

    def caller(self, header: str) -> Client | None:
        """Return whom an Authorization header is remembered to belong to; None where that has to be found out."""
        token = self._tokens.get(header)
        if token is None:
            token = bearer_token(header)
            if not token or not self.remembered(token)[1]:
                return None
            if len(self._tokens) >= _MAX_REMEMBERED:
                self._tokens.clear()
            self._tokens[header] = token
        return self.remembered(token)[1]

    def client(self, token: str) -> Client | None:
        """Return the client that the token belongs to, None where it is not valid."""
        known, client = self.remembered(token)
        if known:
            return client
        client = _verify(token)
        if len(self._known) >= _MAX_REMEMBERED:
            self._known.clear()
        self._known[token] = (time.monotonic() + settings.API_KEY_CACHE_SECONDS, client)
        return client


def _verify(token: str) -> Client | None:
    kind, _, rest = token.partition("_")
    prefix, _, secret = rest.partition("_")
    if kind != "rk" or len(prefix) != _PREFIX_LENGTH or not secret:
        return None
    key = ApiKey.objects.filter(prefix=prefix, revoked_at__isnull=True).first()
    if key is None or not hmac.compare_digest(bytes(key.secret_hash), _hash(secret)):
        return None
    return Client(key.name, frozenset(key.scopes), f"key:{key.prefix}", key.rate_per_second, key.rate_burst)


key_cache = KeyCache()


def bearer_token(header: str) -> str | None:
    """Return the token of an Authorization header, None where there is none."""
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token else None
