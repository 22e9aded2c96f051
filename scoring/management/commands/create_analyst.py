"""Create a user of the dashboard and print the generated password, once."""

from __future__ import annotations

import secrets
from argparse import ArgumentParser

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction


class Command(BaseCommand):
    """The password is the only line on stdout, so that a script can read it; it is stored as a hash alone."""

    help = "Create a dashboard user; the generated password is printed once, as the only line."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--username", required=True)
        parser.add_argument(
            "--may-roll-back",
            action="store_true",
            help="give the permission to roll the model back",
        )
        parser.add_argument(
            "--new-password",
            action="store_true",
            help="where the user exists: replace the password instead of refusing",
        )

    @transaction.atomic
    def handle(self, *, username: str, may_roll_back: bool, new_password: bool, **_: object) -> None:
        users = get_user_model().objects
        user = users.filter(username=username).first()
        if user is not None and not new_password:
            raise CommandError(f"there is a user {username!r} already; --new-password replaces the password")
        user = user or get_user_model()(username=username)
        password = secrets.token_urlsafe(15)
        user.set_password(password)
        try:
            user.full_clean()
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from None
        user.save()
        if may_roll_back:
            user.user_permissions.add(_roll_back_permission())
        self.stdout.write(password)


def _roll_back_permission() -> Permission:
    return Permission.objects.get(content_type__app_label="scoring", codename="change_programrelease")
