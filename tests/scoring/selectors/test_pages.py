"""Keyset pages."""

from __future__ import annotations

import base64
import json

import pytest

from scoring.models import Alert, Decision
from scoring.selectors.pages import CursorInvalid, read_page
from tests.factories import make_alert, make_decision, make_flagged

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]


def walk(query, keys: tuple[str, ...], size: int) -> list[int]:
    found, cursor = [], None
    while True:
        page = read_page(query, keys, cursor, size)
        found += [row.pk for row in page.rows]
        if page.next_cursor is None:
            return found
        cursor = page.next_cursor


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
def test_every_row_once_and_in_order_with_ties(size):
    for score in (5, 9, 5, 5, 1, 9, 7):
        make_alert(make_flagged(score=score))
    expected = [a.pk for a in Alert.objects.order_by("-score", "-id")]
    assert walk(Alert.objects.all(), ("score", "id"), size) == expected


def test_rows_that_arrive_meanwhile_do_not_shift_the_page():
    for _ in range(4):
        make_decision()
    first = read_page(Decision.objects.all(), ("seq",), None, 2)
    make_decision()
    second = read_page(Decision.objects.all(), ("seq",), first.next_cursor, 2)
    assert not {d.pk for d in first.rows} & {d.pk for d in second.rows}
    assert second.next_cursor is None


@pytest.mark.parametrize(
    "content", [b"nonsense", b"[1", b'"a"', b"[1]", b"[1, true]", b"[1, 1e3]", b"[1, 99999999999999999999]", b"{}"]
)
def test_a_forged_cursor_is_refused(content):
    cursor = base64.urlsafe_b64encode(content).decode().rstrip("=")
    with pytest.raises(CursorInvalid):
        read_page(Alert.objects.all(), ("score", "id"), cursor, 5)


@pytest.mark.parametrize("cursor", ["%%%", "ä", "a", json.dumps([1, 2])])
def test_what_is_no_cursor_is_refused(cursor):
    with pytest.raises(CursorInvalid):
        read_page(Alert.objects.all(), ("score", "id"), cursor, 5)
