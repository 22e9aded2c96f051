"""Programs held for questions about older decisions: verified, few, and loaded once."""

from __future__ import annotations

import shutil
import threading

import pytest

from scoring.decisions import released_programs as module
from scoring.decisions.released_programs import ReleasedPrograms, load_release
from scoring.engine import ArtifactRefused

pytestmark = pytest.mark.django_db


@pytest.fixture
def loads(monkeypatch) -> list[str]:
    """The versions that were loaded from disk."""
    seen: list[str] = []
    real = module.load_release

    def load(release):
        seen.append(release.version)
        return real(release)

    monkeypatch.setattr(module, "load_release", load)
    return seen


def test_few_are_held_and_the_one_that_nobody_asked_for_goes(make_champion, loads):
    releases = {version: make_champion(version) for version in ("v1", "v2", "v3")}
    held = ReleasedPrograms(size=2)
    for version in ("v1", "v2", "v1", "v3", "v1", "v2"):
        assert held.get(releases[version]).version == version
    assert loads == ["v1", "v2", "v3", "v2"]
    held.forget()
    held.get(releases["v1"])
    assert loads[-1] == "v1"


def test_many_threads_load_it_once(make_champion, loads):
    release, held = make_champion("v1"), ReleasedPrograms()
    together, found = threading.Barrier(6), []

    def ask() -> None:
        together.wait(10)
        found.append(held.get(release))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert loads == ["v1"] and len(found) == 6 and len(set(map(id, found))) == 1


def test_what_was_refused_is_tried_again(make_champion, settings, loads):
    release, held = make_champion("v1"), ReleasedPrograms()
    folder = settings.ARTIFACT_DIR / "v1"
    folder.rename(folder.with_name("away"))
    with pytest.raises(ArtifactRefused):
        held.get(release)
    folder.with_name("away").rename(folder)
    assert held.get(release).version == "v1" and loads == ["v1", "v1"]


def test_a_signed_folder_of_another_release_is_refused(make_champion, settings):
    make_champion("v1")
    release = make_champion("v2")
    shutil.rmtree(settings.ARTIFACT_DIR / "v2")
    (settings.ARTIFACT_DIR / "v1").rename(settings.ARTIFACT_DIR / "v2")
    with pytest.raises(ArtifactRefused, match="not the one that was registered; restore v2"):
        load_release(release)


def test_a_release_that_names_another_program_is_refused(make_champion):
    release = make_champion("v1")
    release.version = "v1-renamed"
    with pytest.raises(ArtifactRefused, match="holds v1; restore v1-renamed"):
        load_release(release)
