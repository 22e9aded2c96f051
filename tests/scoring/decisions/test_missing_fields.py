"""A batch in which some payments have a field and others do not is stored as it was sent."""

from __future__ import annotations

import itertools
import json

import pytest

from scoring.decisions.engine import DecisionEngine
from scoring.decisions.requests import Decided, request_now
from scoring.models import Decision
from tests.scoring.decisions.conftest import payment

pytestmark = [pytest.mark.any_database, pytest.mark.django_db]
OPTIONAL = ("card_id", "merchant_id", "country")


@pytest.mark.parametrize("order", list(itertools.permutations(("with", "without", "mixed"))))
def test_whatever_comes_first_in_the_batch(engine: DecisionEngine, order):
    fields = {"with": dict.fromkeys(OPTIONAL, "DE"), "without": dict.fromkeys(OPTIONAL), "mixed": {"merchant_id": None}}
    bodies = [payment(number, **fields[kind]) for number, kind in enumerate(order)]
    results = engine.decide([request_now(json.dumps(body).encode()) for body in bodies])
    assert all(isinstance(result, Decided) for result in results), results
    rows = Decision.objects.order_by("seq")
    assert [json.loads(row.transaction) for row in rows] == bodies
    for row, body in zip(rows, bodies, strict=True):
        assert {name: getattr(row, name) for name in OPTIONAL} == {name: body.get(name) for name in OPTIONAL}
