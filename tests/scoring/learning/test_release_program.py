"""One champion at a time, a roll-back that walks back along the line, and an audit entry for each step."""

import pytest

from scoring.engine import ArtifactRefused
from scoring.errors import NothingToRollBackTo
from scoring.learning import artifact_folder
from scoring.models import AuditEntry, ProgramRelease
from scoring.services.release_program import current_champion, promote, refuse, roll_back

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]


def champion_line(make_release, *versions: str) -> list[ProgramRelease]:
    return [promote(make_release(version), actor="test", reason="better") for version in versions]


def test_promotion_retires_the_champion_before(make_release):
    first, second = champion_line(make_release, "v1", "v2")
    first.refresh_from_db()
    assert (first.state, second.state) == ("retired", "champion")
    assert current_champion() == second
    assert second.promoted_at > first.promoted_at


def test_promoting_the_champion_again_changes_nothing(make_release):
    (only,) = champion_line(make_release, "v1")
    entries = AuditEntry.objects.count()
    assert promote(only, actor="test", reason="again").promoted_at == only.promoted_at
    assert AuditEntry.objects.count() == entries


def test_roll_back_restores_the_previous_champion_and_then_the_one_before(make_release):
    champion_line(make_release, "v1", "v2", "v3")
    assert roll_back("alice").version == "v2"
    assert current_champion().version == "v2"
    assert roll_back("alice").version == "v1"
    with pytest.raises(NothingToRollBackTo):
        roll_back("alice")
    assert current_champion().version == "v1"


def test_roll_back_does_not_return_to_what_was_withdrawn(make_release):
    champion_line(make_release, "v1", "v2")
    roll_back("alice")
    champion_line(make_release, "v3")
    assert roll_back("alice").version == "v1"


def test_a_withdrawn_release_can_be_promoted_again(make_release):
    _, second = champion_line(make_release, "v1", "v2")
    roll_back("alice")
    second.refresh_from_db()
    promote(second, actor="bob", reason="it was not the cause")
    assert current_champion().version == "v2"
    assert roll_back("alice").version == "v1"


def test_nothing_to_roll_back_without_a_champion(make_release):
    make_release("v1")
    with pytest.raises(NothingToRollBackTo):
        roll_back("alice")


def test_a_refused_candidate_is_never_rolled_back_to(make_release):
    champion_line(make_release, "v1")
    refuse(make_release("v2"), actor="test", reason="worse")
    champion_line(make_release, "v3")
    assert roll_back("alice").version == "v1"


def test_a_damaged_artifact_is_not_promoted(make_release, artifact_dir):
    champion_line(make_release, "v1")
    damaged = make_release("v2")
    program = artifact_dir / "v2" / "program.json"
    program.write_bytes(program.read_bytes().replace(b"v2", b"vX"))
    with pytest.raises(ArtifactRefused):
        promote(damaged, actor="test", reason="better")
    assert current_champion().version == "v1"


def test_a_damaged_artifact_is_not_rolled_back_to(make_release, artifact_dir):
    champion_line(make_release, "v1", "v2")
    (artifact_dir / "v1" / "manifest.sig").write_bytes(bytes(64))
    with pytest.raises(ArtifactRefused):
        roll_back("alice")
    assert current_champion().version == "v2"


def test_a_roll_back_looks_again_when_the_champion_changed_meanwhile(make_release, monkeypatch):
    champion_line(make_release, "v1", "v2")
    third = make_release("v3")
    load_verified = artifact_folder.load_verified

    def promote_meanwhile(artifact):
        monkeypatch.setattr(artifact_folder, "load_verified", load_verified)
        promote(third, actor="bob", reason="urgent")
        return load_verified(artifact)

    monkeypatch.setattr(artifact_folder, "load_verified", promote_meanwhile)
    assert roll_back("alice").version == "v2"
    assert set(ProgramRelease.objects.filter(state="retired").values_list("version", flat=True)) == {"v1", "v3"}


def test_each_step_is_audited_with_its_actor(make_release):
    champion_line(make_release, "v1", "v2")
    roll_back("alice")
    entry = AuditEntry.objects.latest("id")
    assert (entry.actor, entry.action, entry.subject) == ("alice", "program.roll_back", "v1")
    assert entry.details == {"withdrawn": "v2"}
    promotion = AuditEntry.objects.get(action="program.promote", subject="v2")
    assert promotion.details == {"reason": "better", "before": "v1"}
