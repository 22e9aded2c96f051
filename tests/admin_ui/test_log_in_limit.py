"""Guessing passwords is slowed down for who guesses, and for nobody else."""

from __future__ import annotations

import threading

import pytest
from django.db import connection
from django.test import Client

from scoring.protection import guards as guards_module
from scoring.services.guard_log_in import begin_log_in, log_in_succeeded
from tests.factories import PASSWORD, make_analyst

pytestmark = pytest.mark.django_db


def attempt(client: Client, name: str = "bob", password: str = "wrong", address: str = "192.0.2.1"):
    return client.post("/login/", {"username": name, "password": password}, REMOTE_ADDR=address)


def test_after_five_wrong_passwords_even_the_right_one_is_not_looked_at(client):
    make_analyst("bob")
    assert [attempt(client).status_code for _ in range(6)] == [200] * 5 + [429]
    refused = attempt(client, password=PASSWORD)
    assert refused.status_code == 429 and 1 <= int(refused["Retry-After"]) <= 12
    page = refused.content.decode()
    assert f"Wait {refused['Retry-After']} seconds" in page and "do not match" not in page and PASSWORD not in page
    assert "sessionid" not in client.cookies
    assert "Content-Security-Policy" in refused.headers and "no-store" in refused["Cache-Control"]


def test_nobody_else_is_locked_out(client):
    make_analyst("bob")
    for _ in range(8):
        attempt(client, address="192.0.2.1")
    assert attempt(client, password=PASSWORD, address="198.51.100.7").status_code == 302


def test_one_address_cannot_try_every_name(client):
    answers = [attempt(client, name=f"user-{i}").status_code for i in range(25)]
    assert answers == [200] * 20 + [429] * 5


def test_an_ipv6_network_counts_as_one_address(client):
    answers = [attempt(client, address=f"2001:db8::{i:x}").status_code for i in range(7)]
    assert answers == [200] * 5 + [429] * 2
    assert attempt(client, address="2001:db8:0:1::1").status_code == 200


def test_a_name_in_other_letters_is_the_same_name(client):
    assert [attempt(client, name=name).status_code for name in ("bob", "BOB", "Bob", "bOb", "boB", "BOb")][-1] == 429


def test_who_knows_the_password_is_never_slowed_down():
    make_analyst("bob")
    for _ in range(30):
        assert attempt(Client(), password=PASSWORD).status_code == 302


def test_attempts_at_once_do_not_pass_together(redis_url, settings):
    settings.RATE_LIMIT_REDIS_URL = redis_url
    guards_module.discard_guards()
    allowed = []
    start = threading.Barrier(12)

    def guess() -> None:
        start.wait()
        allowed.append(sum(begin_log_in("bob", "192.0.2.1").allowed for _ in range(4)))
        connection.close()

    threads = [threading.Thread(target=guess) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sum(allowed) == 5


def test_without_a_limit_nothing_is_counted(settings):
    settings.LOGIN_ATTEMPTS_PER_MINUTE = 0
    assert all(begin_log_in("bob", "192.0.2.1").allowed for _ in range(100))
    log_in_succeeded("bob", "192.0.2.1")
    assert guards_module.guards().limiter.granted == 0
