"""manage.py create_api_key: make a key for a machine client."""

from __future__ import annotations

from django.core.management.base import BaseCommand, CommandError, CommandParser

from scoring.api.keys import create_key
from scoring.models import AuditEntry
from scoring.models.api_key import SCOPES


class Command(BaseCommand):
    help = "Create an API key and print it. It is stored as a hash and cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", required=True, help="who will use it")
        parser.add_argument("--scopes", required=True, help=f"comma-separated, out of {', '.join(SCOPES)}")

        parser.add_argument("--rate-per-second", type=float, help="decisions a second; 0 is no limit (default: the settings')")
        parser.add_argument("--rate-burst", type=int, help="decisions at once (default: what a second lets through)")

    def handle(self, *args, **options) -> None:
        scopes = [scope.strip() for scope in options["scopes"].split(",") if scope.strip()]
        try:
            key = create_key(
                options["name"], scopes, rate_per_second=options["rate_per_second"], rate_burst=options["rate_burst"]
            )
        except ValueError as error:
            raise CommandError(str(error)) from None
        details = {"scopes": scopes}
        details |= {name: options[name] for name in ("rate_per_second", "rate_burst") if options[name] is not None}
        AuditEntry.objects.create(actor="command line", action="api_key.create", subject=options["name"], details=details)
        self.stdout.write(key)
