"""The API's own document, for checking answers against it."""

from __future__ import annotations

import functools
import json
from typing import Any

import jsonschema
from drf_spectacular.generators import SchemaGenerator


@functools.cache
def document() -> dict[str, Any]:
    """Return the OpenAPI document as its readers get it."""
    return json.loads(json.dumps(SchemaGenerator().get_schema(request=None, public=True), default=str))


def assert_conforms(value: Any, component: str) -> None:
    """Fail unless the value is what components/schemas/<component> says, with nothing that it does not name."""
    schema = {"$ref": f"#/components/schemas/{component}", "components": document()["components"]}
    jsonschema.Draft202012Validator(schema).validate(value)
    unnamed = set(value) - set(document()["components"]["schemas"][component]["properties"])
    assert not unnamed, f"{component} does not name {sorted(unnamed)}"


def assert_problem(answer: Any, status: int, code: str, *params: str) -> dict[str, Any]:
    """Fail unless the answer is this problem; with `params`, unless its errors point at exactly these places."""
    body = answer.json
    assert (answer.status, body["code"]) == (status, code), body
    assert answer.content_type == "application/problem+json"
    assert_conforms(body, "Problem")
    assert body["status"] == status and body["type"] == f"urn:riskapp:problem:{code}" and len(body["detail"]) > 10
    assert body["request_id"] == answer.headers["x-request-id"]
    if params:
        assert sorted(error["param"] for error in body["errors"]) == sorted(params), body
    return body
