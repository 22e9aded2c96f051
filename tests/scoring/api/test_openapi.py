"""The OpenAPI document and the pages that show it."""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml

from scoring.api.openapi import EXAMPLE
from tests.product_source import ROOT
from tests.scoring.api.documents import document
from tests.scoring.api.test_keys import NEEDED

pytestmark = pytest.mark.django_db(transaction=True)
DOCUMENTED = [(method, path) for (method, path), scope in NEEDED.items() if path.startswith("/api/v1/") and scope is not None]


def test_it_is_a_valid_openapi_3_1_document():
    schema = json.loads((ROOT / "tests/schemas/openapi-3.1.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    assert [error.message for error in validator.iter_errors(document())] == []
    assert document()["openapi"].startswith("3.1.")
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(document() | {"openapi": "3.0.0"})


@pytest.mark.parametrize("name", sorted(document()["components"]["schemas"]))
def test_each_component_is_a_valid_json_schema(name):
    jsonschema.Draft202012Validator.check_schema(document()["components"]["schemas"][name])


def test_every_reference_leads_somewhere():
    for target in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document())):
        at = document()
        for step in target.split("/"):
            at = at[step]


def test_every_address_and_method_is_documented_and_no_other():
    told = {
        (method.upper(), path) for path, methods in document()["paths"].items() for method in methods if method != "parameters"
    }
    assert told == {(method, path.replace("/x", "/{decision_id}")) for method, path in DOCUMENTED}


@pytest.mark.parametrize(("method", "path"), DOCUMENTED)
def test_every_operation_has_a_name_an_answer_and_its_refusals(method, path):
    operation = document()["paths"][path.replace("/x", "/{decision_id}")][method.lower()]
    assert operation["operationId"] and operation["summary"] and operation["security"] == [{"ApiKey": []}]
    assert {"200", "401", "403"} <= set(operation["responses"])
    if method == "POST":
        assert {"400", "413", "415"} <= set(operation["responses"]) and "requestBody" in operation
    for status, response in operation["responses"].items():
        kinds = set(response["content"])
        assert kinds == {"application/problem+json"} if int(status) >= 400 else "application/json" in kinds
    scheme = document()["components"]["securitySchemes"]["ApiKey"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")


def test_operation_names_are_unique():
    names = [operation["operationId"] for methods in document()["paths"].values() for operation in methods.values()]
    assert len(set(names)) == len(names)


def test_the_example_is_accepted(asgi_api):
    assert asgi_api.post("/api/v1/decisions", EXAMPLE).status == 200
    examples = document()["paths"]["/api/v1/decisions"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert [example["value"] for example in examples.values()] == [EXAMPLE]


@pytest.mark.parametrize(
    "changed",
    [
        {"amount_minor": -1},
        {"currency": "eur"},
        {"type": "x"},
        {"card_id": "a b"},
        {"mcc": "1"},
        {"cvv": "1"},
        {"occurred_at": 5},
        {"latitude": 91},
    ],
)
def test_what_the_document_refuses_the_server_refuses_too(asgi_api, changed):
    schema = {"$ref": "#/components/schemas/Transaction", "components": document()["components"]}
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(EXAMPLE)
    assert not validator.is_valid(EXAMPLE | changed)
    assert asgi_api.post("/api/v1/decisions", EXAMPLE | changed).status == 400


def test_every_query_parameter_is_documented():
    from scoring.selectors.ledger_pages import _KNOWN

    parameters = document()["paths"]["/api/v1/decisions"]["get"]["parameters"]
    assert {parameter["name"] for parameter in parameters} == _KNOWN


# --- as served -----------------------------------------------------------------------------------------------------------


def test_the_document_is_served(api):
    answer = api.get("/api/v1/schema")
    assert answer.status == 200 and yaml.safe_load(answer.body) == document()
    as_json = api.get("/api/v1/schema?format=json")
    assert as_json.status == 200 and as_json.json == document()


@pytest.mark.parametrize("page", ["docs", "redoc"])
def test_the_pages_ask_no_foreign_host_for_anything(asgi_api, page):
    answer = asgi_api.get(f"/api/v1/{page}")
    html = answer.body.decode()
    assert answer.status == 200 and answer.content_type.startswith("text/html")
    assert re.findall(r"(?:https?:)?//(?!www\.w3\.org)[a-z0-9.-]+", html) == []
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    used = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert len([name for name in used if name.endswith((".js", ".css"))]) >= 1
    for name in used:
        assert urlsplit(name).netloc == "", name
        if not name.startswith("data:"):
            assert asgi_api.get(name).status == 200, name


@pytest.mark.parametrize("page", ["docs", "redoc"])
def test_the_pages_read_the_document_from_here(asgi_api, page):
    html = asgi_api.get(f"/api/v1/{page}").body.decode()
    assert "/api/v1/schema" in html.replace("\\u002D", "-").replace("\\/", "/")
