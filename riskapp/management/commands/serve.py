"""manage.py serve: the web process, which owns the engine."""

from __future__ import annotations

import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from riskapp.decision_protocol import DecisionProtocol
from riskapp.log_format import log_uncaught
from scoring.rules.builtin import install_builtin_rules


class Command(BaseCommand):
    help = "Serve the API and the dashboard from one engine process."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
        parser.add_argument("--port", type=int, default=8000, help="port to listen on")

    def handle(self, *args, **options) -> None:
        log_uncaught()
        install_builtin_rules()
        settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
        uvicorn.run(
            "riskapp.asgi:application",
            host=options["host"],
            port=options["port"],
            loop="uvloop",
            http=DecisionProtocol,
            ws="none",
            workers=1,  # the feature state lives in this process
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=10,
            timeout_keep_alive=75,
        )
