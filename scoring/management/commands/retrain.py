"""Carry out one training run in the foreground."""

from __future__ import annotations

import getpass

from django.core.management.base import BaseCommand, CommandError

from scoring.learning.run import carry_out
from scoring.management.commands.bootstrap_model import figures_in_words
from scoring.services.start_training import MANUAL, open_run


class Command(BaseCommand):
    """Exits with 1 only when the run failed; refusing a challenger is a result."""

    help = "Train a challenger on the newest matured labels, compare it with the champion, and promote or refuse it."

    def handle(self, **_: object) -> None:
        run = open_run(MANUAL, actor=f"command:{getpass.getuser()}")
        try:
            concluded = carry_out(run.pk)
        except Exception as error:
            raise CommandError(f"run {run.slot} failed and will be tried again by the sweeper: {error}") from error
        if concluded is None:
            raise CommandError(f"run {run.slot} is in the hands of another worker")
        self.stdout.write(figures_in_words(concluded))
