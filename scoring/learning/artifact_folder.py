"""Where releases lie on disk, and how the learning side reads and tidies them."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path

from django.conf import settings

from scoring.engine import ArtifactRefused, RiskProgram, load_program, load_verify_key
from scoring.models import ProgramRelease

logger = logging.getLogger(__name__)


def folder_of(artifact: str) -> Path:
    """Return the folder of the artifact with this name."""
    return Path(settings.ARTIFACT_DIR) / artifact


def load_verified(artifact: str) -> RiskProgram:
    """Return the program of an artifact after every byte of it was verified.

    Raises:
        ArtifactRefused: a file is missing, changed or not signed by our key.
    """
    return load_program(folder_of(artifact), load_verify_key(Path(settings.VERIFY_KEY_FILE)))


def read_model(release: ProgramRelease) -> bytes | None:
    """Return XGBoost's serialisation of the release's forest, or None for a program of rules alone.

    The release row names the digest of the manifest and the manifest that of the model, so the bytes that are handed to
    XGBoost, which does not check what it parses, are those that were signed.

    Raises:
        ArtifactRefused: they are not.
    """
    folder = folder_of(release.artifact)
    try:
        manifest = (folder / "manifest.json").read_bytes()
        if hashlib.sha256(manifest).hexdigest() != release.manifest_sha256:
            raise ArtifactRefused(f"{release.artifact}: the manifest is not the one that was released")
        digest = json.loads(manifest)["files"].get("model.ubj")
        if digest is None:
            return None
        model = (folder / "model.ubj").read_bytes()
    except OSError as error:
        raise ArtifactRefused(f"{release.artifact}: {error.strerror}") from None
    if hashlib.sha256(model).hexdigest() != digest:
        raise ArtifactRefused(f"{release.artifact}: model.ubj was changed after it was signed")
    return model


def remove_unreleased(version_prefix: str) -> None:
    """Delete the folders of this prefix that no release names: what earlier attempts of a run left behind."""
    root = Path(settings.ARTIFACT_DIR)
    released = set(ProgramRelease.objects.filter(artifact__startswith=version_prefix).values_list("artifact", flat=True))
    # A folder that was being written has a leading dot.
    for folder in [*root.glob(f"{version_prefix}*"), *root.glob(f".{version_prefix}*")]:
        if folder.name not in released:
            logger.info("removing %s, which an interrupted attempt left behind", folder.name)
            shutil.rmtree(folder, ignore_errors=True)
