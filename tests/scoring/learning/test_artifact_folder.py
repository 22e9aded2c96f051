"""XGBoost is handed the model bytes that were signed, or none."""

import pytest

from scoring.engine import ArtifactRefused
from scoring.learning.artifact_folder import read_model, remove_unreleased
from scoring.learning.run import carry_out
from scoring.services.start_training import open_run
from tests.scoring.learning.ledger import add_history

pytestmark = pytest.mark.django_db


@pytest.fixture
def release(artifact_dir, small_learning):
    add_history(rows=1500, days=30, fraud_rate=0.08)
    return carry_out(open_run("manual", actor="test").pk, small_learning).challenger


def test_the_model_is_returned_as_it_was_stored(release, artifact_dir):
    assert read_model(release) == (artifact_dir / release.artifact / "model.ubj").read_bytes()


def test_a_program_of_rules_alone_has_no_model(make_release):
    assert read_model(make_release("rules-only")) is None


@pytest.mark.parametrize("name", ["model.ubj", "manifest.json"])
def test_a_changed_byte_is_refused(release, artifact_dir, name):
    path = artifact_dir / release.artifact / name
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactRefused, match="not the one that was released|was changed after it was signed"):
        read_model(release)


@pytest.mark.parametrize("name", ["model.ubj", "manifest.json"])
def test_a_missing_file_is_refused(release, artifact_dir, name):
    (artifact_dir / release.artifact / name).unlink()
    with pytest.raises(ArtifactRefused, match="No such file"):
        read_model(release)


def test_what_no_release_names_is_removed_and_nothing_else(make_release, artifact_dir):
    make_release("20260101-aa-1")
    for name in ("20260101-aa-2", ".20260101-aa-3.4711", "20260101-bb-1"):
        (artifact_dir / name).mkdir()
    remove_unreleased("20260101-aa")
    assert sorted(folder.name for folder in artifact_dir.iterdir()) == ["20260101-aa-1", "20260101-bb-1"]
