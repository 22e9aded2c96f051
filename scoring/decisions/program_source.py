"""Which program serves: the champion release, or the rules alone where there is none yet."""

from __future__ import annotations

import logging

from django.conf import settings

from scoring.engine import ArtifactRefused, Calibration, RiskProgram, default_policy, load_program, load_verify_key
from scoring.features.schema import current_schema
from scoring.models import ProgramRelease
from scoring.rules.live import live_rules

logger = logging.getLogger(__name__)


class ProgramSource:
    """Holds the program in use and follows the champion.

    A release that is refused (changed, unsigned, of another schema) never replaces a working program.
    """

    def __init__(self) -> None:
        self._release_version: str | None = None
        self._refused: str | None = None
        self.current = rules_only_program()

    def refresh(self) -> bool:
        """Load the champion if it changed; return whether the program did."""
        release = ProgramRelease.objects.filter(state=ProgramRelease.State.CHAMPION).only("version", "artifact").first()
        if release is None or release.version in (self._release_version, self._refused):
            return False
        try:
            program = load_program(settings.ARTIFACT_DIR / release.artifact, load_verify_key(settings.VERIFY_KEY_FILE))
            if program.schema.version != current_schema().version:
                raise ArtifactRefused(f"{release.version} was built for another feature schema; train again")
            if program.version != release.version:
                raise ArtifactRefused(f"the folder {release.artifact} holds {program.version}; restore {release.version}")
        except ArtifactRefused as error:
            self._refused = release.version
            logger.error("release %s was refused, %s stays live: %s", release.version, self.current.version, error)
            return False
        self.current, self._release_version, self._refused = program, release.version, None
        return True


def rules_only_program() -> RiskProgram:
    """Return a program without a model; its decisions say so (mode rules_only)."""
    rules, list_names, ruleset = live_rules()
    return RiskProgram(current_schema(), rules, list_names, None, Calibration.identity(), default_policy(), f"rules-{ruleset}")
