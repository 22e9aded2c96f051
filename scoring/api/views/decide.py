"""Deciding: one transaction, a batch, and a dry run."""

from __future__ import annotations

import msgspec
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from scoring.api import openapi
from scoring.api.answering import answer_batch, answer_dry_run, answer_one, ask_for_one
from scoring.api.lean import LeanView
from scoring.api.replies import Reply
from scoring.decisions.batcher import Deliver
from scoring.decisions.requests import DecisionRequest
from scoring.selectors.ledger_pages import ledger_page, read_query


class DecisionsView(LeanView):
    """POST decides on one transaction, GET lists decisions."""

    required_scopes = {"POST": "decisions:write", "GET": "decisions:read"}

    @extend_schema(operation_id="decide", summary="Decide on one transaction", tags=["decisions"], **openapi.DECIDE)
    async def post(self, request: Request) -> Reply:
        return await answer_one(self.sent(request))

    def ask(self, request: Request, deliver: Deliver) -> DecisionRequest:
        """Do as `post` without a coroutine: see `answering.ask_for_one`."""
        return ask_for_one(self.sent(request), deliver)

    @extend_schema(operation_id="list_decisions", summary="List decisions, newest first", tags=["decisions"], **openapi.LIST)
    def get(self, request: Request) -> Response:
        page = ledger_page(read_query(request.query_params))
        return Response({"decisions": [msgspec.Raw(text) for text in page.responses], "next_cursor": page.next_cursor})


class BatchView(LeanView):
    """POST many transactions; each gets its own result, in order."""

    required_scopes = {"POST": "decisions:write"}

    @extend_schema(
        operation_id="decide_batch", summary="Decide on up to 10,000 transactions", tags=["decisions"], **openapi.BATCH
    )
    async def post(self, request: Request) -> Reply:
        return await answer_batch(self.sent(request))


class DryRunView(LeanView):
    """POST one transaction for the answer that it would get; nothing is stored, remembered or counted."""

    required_scopes = {"POST": "decisions:write"}

    @extend_schema(
        operation_id="dry_run", summary="Score one transaction without any effect", tags=["decisions"], **openapi.DRY_RUN
    )
    async def post(self, request: Request) -> Reply:
        return await answer_dry_run(self.sent(request))
