"""System checks with stable ids, so that a wrong set-up is told by `manage.py check --database default`, before traffic.

They warn and do not fail: an error would stop `migrate`, which may be the very thing that is needed.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register
from django.db import DatabaseError

from scoring.durability import unsafe_settings
from scoring.engine import ArtifactRefused, RuleError, has_compiled_kernels, load_program, load_verify_key
from scoring.features.schema import current_schema
from scoring.models import ProgramRelease
from scoring.rules.live import live_rules


@register()
def compiled_kernels(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Without them everything works, slowly."""
    if has_compiled_kernels():
        return []
    hint = "Install a C compiler (Debian: gcc, libc6-dev) and run 'pip install -e .' again."
    return [Warning("the kernels are not compiled; the slow references do their work", hint=hint, id="scoring.W001")]


@register(Tags.database)
def champion_loads(app_configs: Any, databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """The release that would serve is there, signed, unchanged and built for today's features."""
    try:
        release = ProgramRelease.objects.filter(state=ProgramRelease.State.CHAMPION).first() if databases else None
        if release is None:
            return []
        program = load_program(settings.ARTIFACT_DIR / release.artifact, load_verify_key(settings.VERIFY_KEY_FILE))
    except DatabaseError:
        return []  # not migrated yet
    except ArtifactRefused as error:
        return [
            Warning(f"the live program cannot be loaded: {error}", hint="Run 'manage.py rollback_program'.", id="scoring.W002")
        ]
    if program.schema.version != current_schema().version:
        hint = "Run 'manage.py train'; until then decisions are made by the rules alone."
        return [Warning("the live program was built for another feature schema", hint=hint, id="scoring.W003")]
    return []


@register(Tags.database)
def answers_survive_a_power_loss(app_configs: Any, databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """The engine would refuse to start otherwise, or say so where that is allowed."""
    try:
        found = unsafe_settings() if databases else []
    except DatabaseError:
        return []
    return [
        Warning(f"answered decisions could be lost: {setting.name} is {setting.value}", hint=setting.remedy, id="scoring.W005")
        for setting in found
    ]


@register(Tags.database)
def rules_are_valid(app_configs: Any, databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Every live rule in the database can be read."""
    try:
        if databases:
            live_rules()
    except DatabaseError:
        pass
    except RuleError as error:
        return [Warning(f"a live rule is not valid: {error}", hint="Retire that version of the rule.", id="scoring.W004")]
    return []
