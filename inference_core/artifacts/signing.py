"""The Ed25519 key pair that programs are signed with."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from inference_core.errors import ArtifactRefused


def load_or_create_signing_key(path: Path, verify_path: Path) -> Ed25519PrivateKey:
    """Return the private key at `path`; on first use create the pair, the public half at `verify_path`.

    A public half that is missing is written again, so that a process that was killed between the two files does no harm.

    Raises:
        ArtifactRefused: the file at `path` is not such a key.
    """
    if not path.exists():
        _create(path)
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ArtifactRefused(f"{path.name} is not a PEM private key without a password: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ArtifactRefused(f"{path.name} is not an Ed25519 private key; remove it to have one created")
    if not verify_path.exists():
        _write_new(verify_path, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    return key


def load_verify_key(path: Path) -> Ed25519PublicKey:
    """Return the public key at `path`.

    Raises:
        ArtifactRefused: there is none, or it is of another kind.
    """
    try:
        key = load_pem_public_key(path.read_bytes())
    except FileNotFoundError:
        raise ArtifactRefused(
            f"no verification key at {path.name}: train a first model, or copy the key of the host that signs"
        ) from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ArtifactRefused(f"{path.name} is not a PEM public key: {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ArtifactRefused(f"{path.name} is not an Ed25519 public key")
    return key


def _create(path: Path) -> None:
    private = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write_new(path, private, 0o600)


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """Write the file in one step, or leave the one that another process wrote first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    staged.unlink(missing_ok=True)  # left by an earlier process that was killed
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(staged, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(staged)
