"""Programs of releases that no longer serve (or not yet), for questions about decisions that they made.

They are read beside the decision path: the engine holds its own program and never asks here.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

from scoring.engine import ArtifactRefused, RiskProgram
from scoring.learning.artifact_folder import folder_of, load_verified
from scoring.models import ProgramRelease

# A large forest takes some megabytes; questions go to few versions at a time.
MAX_PROGRAMS = 4


def load_release(release: ProgramRelease) -> RiskProgram:
    """Return the release's program, verified to be the one that was registered.

    Raises:
        ArtifactRefused: a file is missing, changed or unsigned, or the folder is another one.
    """
    program = load_verified(release.artifact)
    check_registered(release, program)
    return program


def check_registered(release: ProgramRelease, program: RiskProgram) -> None:
    """Raise ArtifactRefused unless `program`, verified from the release's folder, is the one that was registered."""
    manifest = (folder_of(release.artifact) / "manifest.json").read_bytes()
    if hashlib.sha256(manifest).hexdigest() != release.manifest_sha256:
        raise ArtifactRefused(
            f"the folder {release.artifact} is signed, but it is not the one that was registered; restore {release.version}"
        )
    if program.version != release.version:
        raise ArtifactRefused(f"the folder {release.artifact} holds {program.version}; restore {release.version}")


class ReleasedPrograms:
    """Holds the programs asked for last, at most `size`; safe to use from many threads.

    What was verified once is held as it was: a folder that is changed or removed later does not change it.
    """

    def __init__(self, size: int = MAX_PROGRAMS) -> None:
        self._size = size
        self._held: OrderedDict[tuple[str, str], RiskProgram] = OrderedDict()
        self._lock = threading.Lock()
        # One at a time: two that build a large forest at once would take the processor from the decisions.
        self._loading = threading.Lock()

    def get(self, release: ProgramRelease) -> RiskProgram:
        """Return the release's program, from memory or from its artifact.

        Raises:
            ArtifactRefused: see `load_release`; it is tried again the next time.
        """
        key = release.version, release.manifest_sha256
        if (held := self._look_up(key)) is not None:
            return held
        with self._loading:
            if (held := self._look_up(key)) is None:  # another thread may have loaded it meanwhile
                held = load_release(release)
                self._hold(key, held)
        return held

    def _look_up(self, key: tuple[str, str]) -> RiskProgram | None:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def _hold(self, key: tuple[str, str], program: RiskProgram) -> None:
        with self._lock:
            self._held[key] = program
            while len(self._held) > self._size:
                self._held.popitem(last=False)

    def forget(self) -> None:
        """Hold nothing any more."""
        with self._lock:
            self._held.clear()


released_programs = ReleasedPrograms()
