"""Carry out one training run in the foreground, with a net beside the forest or without one."""

from __future__ import annotations

import getpass
from argparse import ArgumentParser

from django.core.management.base import BaseCommand, CommandError

from scoring.learning.net_parameters import NetWish
from scoring.learning.run import LearningConfig, carry_out
from scoring.management.commands.bootstrap_model import figures_in_words
from scoring.selectors.releases import net_in_words
from scoring.services.start_training import MANUAL, open_run


class Command(BaseCommand):
    """Exits with 1 only when the run failed; refusing a challenger is a result.

    Should this process be killed, a worker carries the run on, with a net if that helps.
    """

    help = "Train a challenger on the newest matured labels, compare it with the champion, and promote or refuse it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        wish = parser.add_mutually_exclusive_group()
        wish.add_argument("--with-net", action="store_const", dest="wish", const=NetWish.ALWAYS, help="take a net in any case")
        wish.add_argument("--without-net", action="store_const", dest="wish", const=NetWish.NEVER, help="train no net")
        parser.set_defaults(wish=NetWish.IF_IT_HELPS)

    def handle(self, *, wish: NetWish, **_: object) -> None:
        run = open_run(MANUAL, actor=f"command:{getpass.getuser()}")
        try:
            concluded = carry_out(run.pk, LearningConfig(net_wish=wish))
        except Exception as error:
            raise CommandError(f"run {run.slot} failed and will be tried again by the sweeper: {error}") from error
        if concluded is None:
            raise CommandError(f"run {run.slot} is in the hands of another worker")
        self.stdout.write(figures_in_words(concluded))
        if told := net_in_words(concluded.figures):
            self.stdout.write(f"net: {told}")
