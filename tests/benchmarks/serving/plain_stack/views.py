"""One view: validate, score, store, answer."""

from __future__ import annotations

import secrets
import uuid
from pathlib import Path

from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tests.benchmarks.serving.plain_stack.forest import PlainForest
from tests.benchmarks.serving.plain_stack.models import PlainDecision
from tests.benchmarks.serving.plain_stack.serializers import TransactionSerializer

FOREST = PlainForest(Path(settings.MODEL_FILE))
STORED = (
    "transaction_id occurred_at amount_minor currency type channel customer_id account_id card_id merchant_id country"
).split()
# Lowest probability of each outcome, strictest first.
THRESHOLDS = ((0.9, "decline"), (0.7, "hold"), (0.5, "review"), (0.3, "step_up"), (0.0, "approve"))


class HasApiKey(BasePermission):
    """Whoever sends the one key of the settings."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return secrets.compare_digest(sent.encode(), settings.API_KEY.encode())


class DecisionView(APIView):
    """POST one transaction, get one stored decision."""

    permission_classes = (HasApiKey,)

    def post(self, request: Request) -> Response:
        received_at = timezone.now()
        serializer = TransactionSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        transaction = serializer.validated_data
        probability = FOREST.probability(transaction)
        try:
            decision = PlainDecision.objects.create(
                decision_id=uuid.uuid4(),
                received_at=received_at,
                outcome=next(outcome for lowest, outcome in THRESHOLDS if probability >= lowest),
                score=round(1000 * probability),
                probability=probability,
                transaction=request.data,
                **{name: transaction.get(name) for name in STORED},
            )
        except IntegrityError:
            return Response({"detail": "this transaction_id was decided before"}, status=409)
        return Response(answer(decision))


def answer(decision: PlainDecision) -> dict:
    """Return the public form of a decision."""
    return {
        "decision_id": decision.decision_id,
        "transaction_id": decision.transaction_id,
        "status": "new",
        "outcome": decision.outcome,
        "score": decision.score,
        "probability": decision.probability,
        "reasons": [],
        "occurred_at": decision.occurred_at,
        "received_at": decision.received_at,
    }
