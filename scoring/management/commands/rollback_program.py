"""Make the previous champion decide again."""

from __future__ import annotations

import getpass

from django.core.management.base import BaseCommand, CommandError

from scoring.engine import ArtifactRefused
from scoring.errors import NothingToRollBackTo
from scoring.services.release_program import roll_back


class Command(BaseCommand):
    help = "Roll back to the previous champion; engine processes follow within ENGINE_REFRESH_SECONDS."

    def handle(self, **_: object) -> None:
        try:
            release = roll_back(actor=f"command:{getpass.getuser()}")
        except (NothingToRollBackTo, ArtifactRefused) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{release.version} decides again")
