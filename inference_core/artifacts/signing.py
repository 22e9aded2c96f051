"""The Ed25519 key pair that programs are signed with."""

from __future__ import annotations

import os
from pathlib import Path

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
    """Return the private key at `path`; on first use create the pair, the public half at `verify_path`."""
    if not path.exists():
        _create(path, verify_path)
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ArtifactRefused(f"{path.name} is not an Ed25519 private key; remove it to have one created")
    return key


def load_verify_key(path: Path) -> Ed25519PublicKey:
    """Return the public key at `path`.

    Raises:
        ArtifactRefused: there is none, or it is of another kind.
    """
    try:
        key = load_pem_public_key(path.read_bytes())
    except FileNotFoundError:
        raise ArtifactRefused(f"no verification key at {path.name}: train a first model, or copy the key of the host that signs") from None
    except ValueError as error:
        raise ArtifactRefused(f"{path.name} is not a PEM public key: {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ArtifactRefused(f"{path.name} is not an Ed25519 public key")
    return key


def _create(path: Path, verify_path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    staged = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(private)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(staged, path)  # fails where another process was first, and then its key is the one
    except FileExistsError:
        return
    finally:
        os.unlink(staged)
    verify_path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
