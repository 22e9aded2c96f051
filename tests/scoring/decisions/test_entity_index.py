"""The index by customer, card and merchant that follows the ledger."""

from __future__ import annotations

import itertools

import pytest
from django.db import connection

import scoring.entity_index as entity_index
from scoring.entity_index import catch_up, find_decisions
from scoring.models import Decision, EntityDecision
from tests.factories import build_decision, make_decision

pytestmark = [pytest.mark.any_database, pytest.mark.django_db]
NOBODY = {"customer_id": None, "card_id": None, "merchant_id": None, "account_id": "acc-1"}


def indexed() -> set[tuple[int, str, int]]:
    """Return (kind, entity, seq) of all entries, the mark left out."""
    return set(EntityDecision.objects.filter(kind__gt=0).values_list("kind", "entity", "seq"))


def found(**conditions) -> list[int]:
    return sorted(find_decisions(conditions).values_list("seq", flat=True))


def test_each_party_of_a_decision_gets_an_entry():
    one, two = (
        make_decision(customer_id="c", card_id="k", merchant_id="m"),
        make_decision(customer_id="c", card_id=None, merchant_id=None),
    )
    assert catch_up() == 2
    assert indexed() == {(1, "c", one.seq), (2, "k", one.seq), (3, "m", one.seq), (1, "c", two.seq)}
    assert catch_up() == 0 and catch_up() == 0
    assert len(indexed()) == 4


def test_what_comes_later_is_added():
    make_decision(card_id="k1")
    catch_up()
    later = make_decision(card_id="k2")
    assert found(card_id="k2") == [later.seq], "a reader lets it catch up"
    assert catch_up() == 0


def test_chunks_leave_nothing_out(monkeypatch):
    monkeypatch.setattr(entity_index, "_CHUNK_ROWS", 3)
    rows = [make_decision(card_id=f"k{i % 2}") for i in range(8)]
    assert catch_up() == 8
    assert found(card_id="k0") == [row.seq for row in rows[::2]]


def test_numbers_that_are_missing_do_not_hold_it_up(monkeypatch):
    """Sequences leave gaps, after a failed batch for one."""
    monkeypatch.setattr(entity_index, "_CHUNK_ROWS", 3)
    far = build_decision(card_id="far")
    far.seq = 10**9
    far.save(force_insert=True)
    near = build_decision(card_id="near")
    near.seq = 7
    near.save(force_insert=True)
    assert catch_up() == 2
    assert found(card_id="far") == [10**9] and found(card_id="near") == [7]
    later = build_decision(card_id="far")
    later.seq = 10**9 + 10**6
    later.save(force_insert=True)
    assert catch_up() == 1 and found(card_id="far") == [10**9, 10**9 + 10**6]


def test_decisions_that_name_nobody_are_looked_at_once(monkeypatch):
    monkeypatch.setattr(entity_index, "_CHUNK_ROWS", 3)
    for _ in range(10):
        make_decision(**NOBODY)
    assert catch_up() == 10
    assert catch_up() == 0 and indexed() == set()
    named = make_decision(card_id="k")
    assert catch_up() == 1 and found(card_id="k") == [named.seq]


def test_catching_up_costs_the_same_however_large_the_index_is(django_assert_num_queries, monkeypatch):
    # Earlier tests were rolled back and left gaps, which stay open as long as this test's own transaction does.
    monkeypatch.setattr(entity_index, "_gaps_in", lambda mark, chunk: [])
    for _ in range(5):
        make_decision()
    catch_up()
    with django_assert_num_queries(2):
        catch_up()


def test_conditions_are_combined():
    one = make_decision(customer_id="c", card_id="k1", score=10)
    make_decision(customer_id="c", card_id="k2", score=10)
    make_decision(customer_id="d", card_id="k1", score=900)
    assert found(customer_id="c", card_id="k1") == [one.seq]
    assert found(card_id="k1", score__gte=500) == [one.seq + 2]
    assert found(customer_id="nobody") == [] and len(found()) == 3 == Decision.objects.count()


def test_the_mark_is_one_row_and_nobody_finds_it():
    for _ in range(4):
        make_decision(**NOBODY)
        catch_up()
    assert EntityDecision.objects.filter(kind=0, entity="").count() == 1
    assert found(customer_id="") == []


def test_no_transaction_of_the_index_is_long(monkeypatch):
    """On SQLite decisions wait for it; on PostgreSQL, where nobody does, a chunk is one statement."""
    if connection.vendor == "postgresql":
        make_decision(card_id="k")
        assert catch_up() == 1 and found(card_id="k")
        return
    for i in range(7):
        make_decision(card_id=f"k{i}")
    monkeypatch.setattr(entity_index, "_SLICE_ENTRIES", 3)
    written, seen = [], EntityDecision.objects.filter(kind=EntityDecision.Kind.CARD)
    real = entity_index.ledger_turn

    def turn():
        written.append(seen.count())
        return real()

    monkeypatch.setattr(entity_index, "ledger_turn", turn)
    assert catch_up() == 7
    steps = [b - a for a, b in itertools.pairwise([*written, seen.count()])]
    assert sum(steps) == 7 and max(steps) == 3
