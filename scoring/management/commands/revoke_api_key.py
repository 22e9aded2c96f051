"""manage.py revoke_api_key: end a key."""

from __future__ import annotations

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from scoring.models import ApiKey, AuditEntry


class Command(BaseCommand):
    help = "Revoke the API keys of one name; they stop working within API_KEY_CACHE_SECONDS."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", required=True)

    def handle(self, *args, **options) -> None:
        count = ApiKey.objects.filter(name=options["name"], revoked_at__isnull=True).update(revoked_at=timezone.now())
        if not count:
            raise CommandError(f"there is no live key named {options['name']!r}")
        AuditEntry.objects.create(actor="command line", action="api_key.revoke", subject=options["name"], details={"keys": count})
        self.stdout.write(f"{count} revoked")
