"""Reading one decision back, and explaining it."""

from __future__ import annotations

import msgspec
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from scoring.api import openapi
from scoring.api.lean import ApiView
from scoring.errors import DecisionNotFound
from scoring.feature_rows import stored_row
from scoring.features.schema import current_schema
from scoring.models import Decision
from scoring.selectors.explanation import DecisionExplanation, explain_decision
from scoring.stored_answers import stored_answer


class DecisionView(ApiView):
    """GET one decision with all that is known of it."""

    required_scopes = {"GET": "decisions:read"}

    @extend_schema(
        operation_id="get_decision", summary="One decision, with features and labels", tags=["decisions"], **openapi.GET
    )
    def get(self, request: Request, decision_id: str) -> Response:
        # PostgreSQL cannot even be asked about a zero byte.
        decision = Decision.objects.filter(decision_id=decision_id).first() if decision_id.isprintable() else None
        if decision is None:
            raise DecisionNotFound("there is no decision with this id")
        labels = decision.labels.order_by("reported_at", "id").values(
            "label_id", "label", "fraud_type", "source", "confidence", "reported_at"
        )
        return Response(
            msgspec.json.decode(stored_answer(decision))
            | {
                "transaction": msgspec.json.decode(decision.transaction),
                "features": _features_by_name(decision),
                "labels": list(labels),
            }
        )


def _features_by_name(decision: Decision) -> dict[str, float | None] | None:
    """Return name -> value (None: not known); None where the row was written under another schema."""
    schema = current_schema()
    if decision.feature_schema != schema.version:
        return None
    values = stored_row(decision.features).tolist()
    return {name: None if value != value else value for name, value in zip(schema.names, values, strict=True)}


class ExplanationView(ApiView):
    """GET the exact contributions of the features to one decision's margin."""

    required_scopes = {"GET": "decisions:read"}

    @extend_schema(
        operation_id="explain_decision", summary="Exact contributions of the features", tags=["decisions"], **openapi.EXPLAIN
    )
    def get(self, request: Request, decision_id: str) -> Response:
        return Response(_explanation_body(explain_decision(decision_id)))


def _explanation_body(found: DecisionExplanation) -> openapi.ExplanationBody:
    features = [
        openapi.ExplainedFeature(
            name=of.name, text=of.text, unit=of.unit, value=of.value, contribution=of.exact, path_contribution=of.path,
            is_reason=of.is_reason,
        )
        for of in found.features
    ]  # fmt: skip
    return openapi.ExplanationBody(
        decision_id=found.decision_id,
        program_version=found.program_version,
        feature_schema=found.feature_schema,
        bias=found.bias,
        margin=found.margin,
        decided=openapi.DecidedMargin(margin=found.decided_margin, probability=found.decided_probability, agrees=found.agrees),
        features=features,
    )
