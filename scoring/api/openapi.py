"""The OpenAPI documents of the endpoints, from the types that decode and encode them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from msgspec import UNSET, Meta, Struct, UnsetType

from scoring.services.record_labels import LabelInput
from scoring.transactions import FieldFault, Transaction

OutcomeName = Literal["approve", "step_up", "review", "hold", "decline"]


class Reason(Struct):
    """One reason. `weight` is in log-odds for the model, -ln(1 - weight) for a rule: larger means more."""

    code: str
    source: str
    text: str
    weight: float
    feature: str | UnsetType = UNSET
    value: float | None | UnsetType = UNSET
    rule_id: str | UnsetType = UNSET


class RuleResult(Struct):
    rule_id: str
    outcome: Literal["hit", "no_hit", "insufficient_history", "error"]


class DecisionBody(Struct):
    """The answer to one transaction. `score` is 1000 times the risk, in which rule hits are joined to the probability."""

    decision_id: str
    transaction_id: str
    status: Literal["new"]
    outcome: OutcomeName
    score: Annotated[int, Meta(ge=0, le=1000)]
    probability: Annotated[float, Meta(ge=0, le=1)] | None
    reasons: list[Reason]
    rules: list[RuleResult]
    degraded: bool
    mode: str
    stamps: list[str]
    versions: dict[str, str | None]
    timing_us: dict[str, int]
    occurred_at: str
    received_at: str


class DryRunBody(DecisionBody):
    """What the decision would be, with the features that it would see (null: not known)."""

    decision_id: None
    status: Literal["dry_run"]
    features: dict[str, float | None]


class Problem(Struct):
    """RFC 9457 problem details. `errors[].param` is a JSON Pointer into the body."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    retryable: bool
    errors: list[FieldFault] | None = None


class BatchResult(Struct):
    """One result of a batch: `decision` where status is 200, `error` otherwise."""

    index: int
    status: int
    replayed: bool | None = None
    decision: DecisionBody | None = None
    error: Problem | None = None


class BatchBody(Struct):
    results: list[BatchResult]
    accepted: int
    refused: int


class DecisionPage(Struct):
    decisions: list[DecisionBody]
    next_cursor: str | None


class LabelResult(Struct):
    """201: recorded, 200: had been recorded before; `error` otherwise."""

    index: int
    status: int
    label_id: str | None = None
    error: Problem | None = None


class LabelResults(Struct):
    results: list[LabelResult]


class DecisionDetail(DecisionBody):
    """A stored decision with its transaction, features (null: not known) and labels."""

    transaction: dict[str, Any]
    features: dict[str, float | None] | None
    labels: list[dict[str, Any]]


class ExplainedFeature(Struct):
    """One feature's share of the margin in log-odds: exact, and as the fast path saw it. `value` null: not known then.

    `is_reason`: the answer named it among its reasons.
    """

    name: str
    text: str
    unit: str
    value: float | None
    contribution: float
    path_contribution: float
    is_reason: bool


class DecidedMargin(Struct):
    """What was stored with the decision; `agrees`: the explained margin is that margin, up to a thousandth."""

    margin: float | None
    probability: Annotated[float, Meta(ge=0, le=1)] | None
    agrees: bool


class ExplanationBody(Struct):
    """bias + the contributions = margin, the model's log-odds before calibration. Largest contributions first."""

    decision_id: str
    program_version: str
    feature_schema: str
    bias: float
    margin: float
    decided: DecidedMargin
    features: list[ExplainedFeature]


_TYPES = (
    Transaction, DecisionBody, DryRunBody, DecisionDetail, DecisionPage, BatchBody, LabelInput, LabelResults, ExplanationBody,
    Problem,
)  # fmt: skip
_, COMPONENTS = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")


def add_components(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """drf-spectacular's hook: put the types beside the paths that refer to them."""
    result.setdefault("components", {}).setdefault("schemas", {}).update(COMPONENTS)
    return result


class _KeyScheme(OpenApiAuthenticationExtension):
    target_class = "scoring.api.authentication.ApiKeyAuthentication"
    name = "ApiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An API key with the scope that the endpoint needs."}


def _ref(kind: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _responses(good: dict[str, Any], *codes: int, meanings: dict[int, str] | None = None) -> dict[Any, Any]:
    told = _MEANINGS | (meanings or {})
    problems = {
        (code, "application/problem+json"): OpenApiResponse(_ref(Problem), told[code]) for code in (401, 403, 429, *codes)
    }
    return {(200, "application/json"): OpenApiResponse(good), **problems}


_MEANINGS = {
    400: "The input is not valid; nothing was stored.",
    401: "The API key is missing, unknown or revoked.",
    403: "The API key lacks the scope.",
    404: "There is no such thing.",
    409: "The id is known with another content.",
    413: "The body is too large.",
    415: "The content type is not taken here.",
    429: "This key asks for more than it may (where it has a limit); Retry-After and RateLimit-Reset say when to ask again.",
    503: "No decision can be made now; Retry-After says when to try again.",
}
EXAMPLE = {
    "transaction_id": "tx-20260131-000001",
    "occurred_at": "2026-01-31T10:15:30.123Z",
    "amount_minor": 4_999,
    "currency": "EUR",
    "type": "card_payment",
    "channel": "ecom",
    "customer_id": "cust_000042",
    "card_id": "card_000042_0",
    "merchant_id": "mer_00017",
    "device_id": "dev_000042_0",
    "mcc": "5732",
    "country": "DE",
    "home_country": "DE",
    "card_present": False,
}
_example = OpenApiExample("A card payment", value=EXAMPLE, request_only=True)

DECIDE = {
    "request": {"application/json": _ref(Transaction)},
    "responses": _responses(_ref(DecisionBody), 400, 409, 413, 415, 503),
    "examples": [_example],
    "description": "The answer is sent after the decision is on disk. The same transaction_id with the same body gets the stored "
    "answer byte for byte (header Idempotent-Replayed: true); with another body 409.",
}
DRY_RUN = {
    "request": {"application/json": _ref(Transaction)},
    "responses": _responses(_ref(DryRunBody), 400, 413, 415, 503),
    "examples": [_example],
    "description": "Nothing is stored, remembered or counted. The answer carries the features as well.",
}
BATCH = {
    "request": {"application/json": {"type": "array", "items": _ref(Transaction)}, "application/x-ndjson": {"type": "string"}},
    "responses": _responses(_ref(BatchBody), 400, 413, 415, 503)
    | {(200, "application/x-ndjson"): OpenApiResponse({"type": "string"})},
    "description": "Scored in this order, as if sent one by one; each item has its own result. NDJSON in, NDJSON out.",
}
GET = {"responses": _responses(_ref(DecisionDetail), 404, 503)}
EXPLAIN = {
    "responses": _responses(
        _ref(ExplanationBody), 404, 409, 422, 503,
        meanings={
            409: "The program or the feature row that made this decision is not there any more; detail says which.",
            422: "Rules alone made this decision: there is no model to explain.",
        },
    ),
    "description": "Shapley values of the features (path-dependent TreeSHAP, as XGBoost's pred_contribs), worked out on demand "
    "by the program that made the decision, from the feature row that it scored. `path_contribution` is what the fast path makes "
    "of the same row; the reasons of the answer come from there.",
}  # fmt: skip
LIST = {
    "responses": _responses(_ref(DecisionPage), 400, 503),
    "parameters": [
        OpenApiParameter(name, str, description=text)
        for name, text in (
            ("cursor", "next_cursor of the page before"),
            ("outcome", "approve, step_up, review, hold or decline"),
            ("transaction_id", "exact"),
            ("customer_id", "exact"),
            ("card_id", "exact"),
            ("merchant_id", "exact"),
            ("from", "occurred at or after, RFC 3339"),
            ("to", "occurred before, RFC 3339"),
        )
    ]
    + [
        OpenApiParameter("limit", int, description="1 to 200, default 50"),
        OpenApiParameter("min_score", int, description="0 to 1000"),
    ],
}
_LABEL_ARRAY = {"type": "array", "items": _ref(LabelInput)}
_LABEL_OBJECT = {"type": "object", "properties": {"labels": _LABEL_ARRAY}, "required": ["labels"], "additionalProperties": False}
LABELS = {
    "request": {"application/json": {"oneOf": [_ref(LabelInput), _LABEL_ARRAY, _LABEL_OBJECT]}},
    "responses": _responses(_ref(LabelResults), 400, 404, 409, 413, 415, 503)
    | {(201, "application/json"): OpenApiResponse(_ref(LabelResults), "One label was sent, and recorded now.")},
    "description": "Labels are append-only; the latest reported_at wins. Many are sent as an array or as "
    '{"labels": [...]}: each gets its own result.',
}

__all__ = ["BATCH", "COMPONENTS", "DECIDE", "DRY_RUN", "EXAMPLE", "EXPLAIN", "GET", "LABELS", "LIST", "add_components"]
