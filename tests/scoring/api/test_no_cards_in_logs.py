"""A card number that a caller plants anywhere in a request, or that an error quotes, reaches no log line."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator

import pytest

from riskapp.log_format import JsonFormatter
from scoring.decisions.engine import DecisionEngine
from tests.scoring.api.conftest import payment

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/api/v1/decisions"
CARD = "4012888888881881"
WRITTEN = [CARD, "4012-8888-8888-1881", "4012.8888.8888.1881", "4012%208888%208888%201881"]


class Written(logging.Handler):
    """What our formatter makes of every record, from every logger and of every level."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(JsonFormatter())
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def log() -> Iterator[list[str]]:
    handler, root = Written(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler.lines
    root.removeHandler(handler)
    root.setLevel(level)


def cards_in(lines: list[str]) -> list[str]:
    """Return the lines in which the number's digits stand one after the other, whatever is between them."""
    return [line for line in lines if CARD in re.sub(r"\D", "", re.sub(r"%[0-9A-F]{2}", "", line))]


@pytest.mark.parametrize("card", WRITTEN)
def test_in_the_body_the_headers_and_the_address(api, log, card):
    logging.getLogger("tests").warning("planted %s", card)
    answers = [
        api.post(URL, payment(1, customer_id=card)),
        api.post(URL, payment(1) | {card: card}),
        api.post(URL, payment(1, amount_minor=card)),
        api.post(URL, f'{{"transaction_id": "{card}'.encode()),
        api.post(f"{URL}/batch", [payment(1, merchant_id=card), {"note": card}]),
        api.post(URL, payment(1), content_type=f"text/{card}"),
        api.post(URL, payment(2), X_Request_ID=card),
        api.post(URL, payment(2), Authorization=f"Bearer rk_{card}_{card}"),
        api.get(f"{URL}/{card}"),
        api.get(f"/api/v1/{card}/x?card={card}"),
        api.get(f"/{card}/", Host=card),
        api.get(f"{URL}?card={card}", X_Request_ID=card),
    ]
    assert [a.status for a in answers].count(200) <= 4 and all(a.status < 500 for a in answers), [a.status for a in answers]
    assert log and any("planted" in line and "[digits removed]" in line for line in log)
    assert cards_in(log) == []


@pytest.mark.parametrize("card", WRITTEN)
def test_in_an_error_that_quotes_it(api, log, monkeypatch, card):
    api.post(URL, payment(1))
    monkeypatch.setattr(DecisionEngine, "prepare", lambda self, work: _fail(card))
    answer = api.post(URL, payment(2))
    assert answer.status == 503 and card not in answer.body.decode()
    errors = [json.loads(line) for line in log if '"exception"' in line]
    assert any("RuntimeError" in line["exception"] and "[digits removed]" in line["exception"] for line in errors)
    assert cards_in(log) == []


def _fail(card: str) -> None:
    raise RuntimeError(f"could not store {{'card_id': '{card}'}}")
