"""Which program decides: registering a release, promoting it, and going back to the one before.

`promoted_at` is a release's place in the line of champions. Rolling back takes a release out of the line by clearing it,
so that a later roll-back does not return to what was once withdrawn; the audit trail keeps when it served.
Engine processes notice the new champion within ENGINE_REFRESH_SECONDS.
"""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from scoring.errors import NothingToRollBackTo
from scoring.learning import artifact_folder
from scoring.models import AuditEntry, ProgramRelease


def current_champion() -> ProgramRelease | None:
    """Return the release that decides now."""
    return ProgramRelease.objects.filter(state=ProgramRelease.State.CHAMPION).first()


def register(*, version: str, manifest_sha256: str, parent: ProgramRelease | None, figures: dict, actor: str) -> ProgramRelease:
    """Record the finished artifact folder `version` as a candidate."""
    release = ProgramRelease.objects.create(
        version=version, artifact=version, manifest_sha256=manifest_sha256, parent=parent, figures=figures
    )
    _audit(actor, "program.register", release)
    return release


def promote(release: ProgramRelease, *, actor: str, reason: str) -> ProgramRelease:
    """Make the release the champion; the one before is retired in the same transaction.

    Raises:
        ArtifactRefused: its artifact does not verify; nothing changes.
    """
    # Before the transaction: reading a forest takes a while, and on SQLite decisions would wait for it.
    artifact_folder.load_verified(release.artifact)
    return make_champion(release, actor=actor, reason=reason)


@transaction.atomic
def make_champion(release: ProgramRelease, *, actor: str, reason: str) -> ProgramRelease:
    """Do what `promote` does for a release whose artifact the caller has just built or verified."""
    before = _locked_champion()
    if before is not None and before.pk == release.pk:
        return before
    if before is not None:
        _set_state(before, ProgramRelease.State.RETIRED, before.promoted_at)
    _set_state(release, ProgramRelease.State.CHAMPION, timezone.now())
    _audit(actor, "program.promote", release, reason=reason[:500], before=before.version if before else None)
    return release


def refuse(release: ProgramRelease, *, actor: str, reason: str) -> None:
    """Record that the candidate did not pass; it stays on disk to be looked at."""
    _set_state(release, ProgramRelease.State.REFUSED, None)
    _audit(actor, "program.refuse", release, reason=reason[:500])


def roll_back(actor: str) -> ProgramRelease:
    """Make the previous champion decide again, and return it.

    Raises:
        NothingToRollBackTo: there is no earlier champion.
        ArtifactRefused: its artifact does not verify; the present champion stays.
    """
    withdrawn = current_champion()
    previous = _champion_before(withdrawn)
    artifact_folder.load_verified(previous.artifact)
    with transaction.atomic():
        unchanged = _locked_champion() == withdrawn and _champion_before(withdrawn) == previous
        if unchanged:
            _set_state(withdrawn, ProgramRelease.State.RETIRED, None)
            _set_state(previous, ProgramRelease.State.CHAMPION, previous.promoted_at)
            _audit(actor, "program.roll_back", previous, withdrawn=withdrawn.version)
    # Someone else promoted or rolled back while the artifact was read: look again.
    return previous if unchanged else roll_back(actor)


def _champion_before(champion: ProgramRelease | None) -> ProgramRelease:
    if champion is None:
        raise NothingToRollBackTo("no program is live, so there is nothing to roll back")
    retired = ProgramRelease.objects.filter(state=ProgramRelease.State.RETIRED, promoted_at__lt=champion.promoted_at)
    previous = retired.order_by("-promoted_at", "-id").first()
    if previous is None:
        raise NothingToRollBackTo(f"{champion.version} is the first champion; train another before rolling back")
    return previous


def _locked_champion() -> ProgramRelease | None:
    return ProgramRelease.objects.select_for_update().filter(state=ProgramRelease.State.CHAMPION).first()


def _set_state(release: ProgramRelease, state: str, promoted_at) -> None:
    release.state, release.promoted_at = state, promoted_at
    release.save(update_fields=["state", "promoted_at"])


def _audit(actor: str, action: str, release: ProgramRelease, **details) -> None:
    AuditEntry.objects.create(actor=actor, action=action, subject=release.version, details=details)
