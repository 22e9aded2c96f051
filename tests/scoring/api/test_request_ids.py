"""The id under which a request is logged, and which every answer carries."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.django_db(transaction=True)
URL, DRY_RUN = "/api/v1/decisions", "/api/v1/decisions/dry-run"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", URL),
        ("POST", f"{URL}/batch"),
        ("POST", DRY_RUN),
        ("GET", URL),
        ("GET", f"{URL}/x"),
        ("POST", "/api/v1/labels"),
        ("GET", "/metrics"),
    ],
)
def test_every_answer_carries_a_request_id(api, method, path):
    made = [api.send(method, path, b"{}", {"content-type": "application/json"}).headers["x-request-id"] for _ in range(2)]
    assert made[0] != made[1] and all(re.fullmatch(r"req_[0-9a-f]{24}", name) for name in made)
    given = api.send(method, path, b"{}", {"content-type": "application/json", "x-request-id": "trace-1.2_3"})
    assert given.headers["x-request-id"] == "trace-1.2_3"


@pytest.mark.parametrize("sent", ["", "x" * 65, "a b", "<script>", "a;b", "ü", "4111111111111111"])
def test_a_request_id_that_is_not_harmless_is_replaced(api, sent):
    answer = api.post(URL, {}, x_request_id=sent)
    assert answer.headers["x-request-id"] != sent and (not sent or sent.encode("latin-1") not in answer.body)
