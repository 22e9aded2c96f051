"""Named lists."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from scoring.decisions.accepted import Accepted, read_requests
from scoring.decisions.requests import request_now
from scoring.models import ListEntry
from scoring.rules.lists import LISTS, ListSnapshot, read_lists
from scoring.transactions import Transaction
from tests.scoring.decisions.conftest import payment

NAMES = tuple(LISTS)


def entry(list_name: str, value: str, **fields) -> ListEntry:
    return ListEntry.objects.create(list_name=list_name, value=value, created_by="test", **fields)


def accepted(*bodies: dict) -> Accepted:
    found, refusals = read_requests([request_now(json.dumps(body).encode()) for body in bodies])
    assert refusals == [None] * len(bodies)
    return found


def members(snapshot: ListSnapshot, **fields) -> set[str]:
    (row,) = snapshot.memberships(accepted(payment(1, **fields)), NAMES)
    return {name for name, on in zip(NAMES, row, strict=True) if on}


def test_every_list_looks_at_a_field_of_the_transaction():
    assert set(LISTS.values()) <= set(Transaction.__struct_fields__)


@pytest.mark.any_database
@pytest.mark.django_db
@pytest.mark.parametrize("name", NAMES)
def test_a_value_is_looked_up_in_its_own_field(name):
    value = "NL" if name == "watched_countries" else "listed"
    entry(name, value)
    snapshot = read_lists(timezone.now())
    assert members(snapshot, **{LISTS[name]: value}) == {name}
    assert members(snapshot) == set()


@pytest.mark.any_database
@pytest.mark.django_db
def test_an_entry_holds_until_it_expires():
    now = timezone.now()
    entry("blocked_cards", "k1", expires_at=now + timedelta(seconds=1))
    assert members(read_lists(now), card_id="k1") == {"blocked_cards"}
    assert members(read_lists(now + timedelta(seconds=1)), card_id="k1") == set()


@pytest.mark.any_database
@pytest.mark.django_db
def test_a_list_that_no_rule_knows_is_left_out():
    entry("my_list", "k1")
    assert read_lists(timezone.now()).values == {}


def test_a_transaction_without_the_field_is_on_no_list():
    assert members(ListSnapshot({"blocked_devices": frozenset({"d"})}), device_id=None) == set()


def test_order_and_size_of_a_batch():
    snapshot = ListSnapshot({"blocked_cards": frozenset({"k1", "k3"})})
    batch = accepted(*(payment(i, card_id=f"k{i}") for i in range(4)))
    assert snapshot.memberships(batch, ("watched_customers", "blocked_cards"))[:, 1].tolist() == [False, True, False, True]
