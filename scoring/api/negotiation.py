"""Which form an answer has: there is one."""

from __future__ import annotations

from rest_framework.negotiation import DefaultContentNegotiation


class AnswersJson(DefaultContentNegotiation):
    """JSON, whatever the Accept header asks for, as the lean path does: RFC 9110 lets a server disregard the header."""

    def select_renderer(self, request, renderers, format_suffix=None):
        return renderers[0], renderers[0].media_type
