"""Guessing a password at the dashboard is slowed down, without a way to lock somebody else out.

Attempts are counted by address and name together, and by address alone: who guesses is slowed down wherever they aim, and
the owner of the name, at another address, is not.
"""

from __future__ import annotations

import ipaddress

from django.conf import settings

from scoring.protection.guards import guards
from scoring.protection.token_bucket import RateLimit, RateVerdict

# An address may try this many times as often as one name from it: several people may share an address.
_NAMES_AN_ADDRESS = 4


def begin_log_in(name: str, address: str) -> RateVerdict:
    """Count an attempt before the password is looked at; where it is not allowed, it must not be looked at."""
    attempts = settings.LOGIN_ATTEMPTS_PER_MINUTE
    if not attempts:
        return RateVerdict(True, 0, 0, 0.0, 0.0)
    verdict = RateVerdict(True, attempts, attempts, 0.0, 0.0)
    for caller, factor in _callers(name, address):
        verdict = guards().limiter.take_now(caller, RateLimit(attempts * factor / 60, attempts * factor))
        if not verdict.allowed:
            break
    return verdict


def log_in_succeeded(name: str, address: str) -> None:
    """Give back the attempt: the right password is no guess."""
    attempts = settings.LOGIN_ATTEMPTS_PER_MINUTE
    for caller, factor in _callers(name, address) if attempts else ():
        guards().limiter.give_back(caller, RateLimit(attempts * factor / 60, attempts * factor))


def _callers(name: str, address: str) -> tuple[tuple[str, int], ...]:
    network = _network_of(address)
    return (f"login:{network}", _NAMES_AN_ADDRESS), (f"login:{network}:{name.casefold()[:150]}", 1)


def _network_of(address: str) -> str:
    """An IPv6 subscriber has 2^64 addresses, so the first half counts."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if found.version == 6:
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False).network_address)
    return str(found)
