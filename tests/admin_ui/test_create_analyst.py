"""`manage.py create_analyst`."""

from __future__ import annotations

import io

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.core.management import CommandError, call_command


def create(*arguments: str) -> str:
    out = io.StringIO()
    call_command("create_analyst", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_the_password_is_the_only_line_and_works():
    output = create("--username", "bob")
    assert output.count("\n") == 1 and len(output.strip()) >= 16
    user = authenticate(username="bob", password=output.strip())
    assert user is not None and not user.has_perm("scoring.change_programrelease")
    assert output.strip() not in user.password


@pytest.mark.django_db
def test_may_roll_back():
    create("--username", "bob", "--may-roll-back")
    assert get_user_model().objects.get(username="bob").has_perm("scoring.change_programrelease")


@pytest.mark.django_db
def test_an_existing_user_is_left_alone_unless_a_new_password_is_asked_for():
    old = create("--username", "bob").strip()
    with pytest.raises(CommandError, match="--new-password"):
        create("--username", "bob")
    assert authenticate(username="bob", password=old)
    new = create("--username", "bob", "--new-password").strip()
    assert authenticate(username="bob", password=new) and not authenticate(username="bob", password=old)


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["", "two words", "x" * 151])
def test_a_user_name_that_cannot_be_is_refused(name):
    with pytest.raises(CommandError):
        create("--username", name)
    assert not get_user_model().objects.exists()
