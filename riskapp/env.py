"""Typed readers of environment variables; each setting is read through one of these, so that a test can list them."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}


def env_str(name: str, default: str) -> str:
    """Return the text of `name`, or `default` where it is unset."""
    return os.environ.get(name, default)


def env_choice(name: str, default: str, choices: tuple[str, ...]) -> str:
    """Return the text of `name`, which must be one of `choices`."""
    text = os.environ.get(name, default)
    if text not in choices:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(choices)}; got {text}")
    return text


def env_int(name: str, default: int, *, at_least: int = 0) -> int:
    """Return `name` as a whole number that is not below `at_least`."""
    text = os.environ.get(name)
    if text is None:
        return default
    try:
        value = int(text)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a whole number") from None
    if value < at_least:
        raise ImproperlyConfigured(f"{name} must be at least {at_least}; got {value}")
    return value


def env_float(name: str, default: float, *, at_least: float = 0.0) -> float:
    """Return `name` as a finite number that is not below `at_least`."""
    text = os.environ.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a number") from None
    if not at_least <= value < float("inf"):
        raise ImproperlyConfigured(f"{name} must be finite and at least {at_least}; got {text}")
    return value


def env_bool(name: str, default: bool) -> bool:
    """Return `name` as a truth value: 1/true/yes/on or 0/false/no/off."""
    text = os.environ.get(name)
    if text is None:
        return default
    lowered = text.strip().lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise ImproperlyConfigured(f"{name} must be one of 1, true, yes, on, 0, false, no, off")


def env_path(name: str, default: Path) -> Path:
    """Return `name` as an absolute path."""
    return Path(os.environ.get(name, str(default))).expanduser().resolve()


def env_secret(name: str, generated_at: Path) -> str:
    """Return the secret `name`, or the contents of the file `<name>_FILE`, or one generated once into `generated_at`."""
    if text := os.environ.get(name):
        return text
    if file := os.environ.get(f"{name}_FILE"):
        return Path(file).read_text().strip()
    return _generated_secret(generated_at)


def _generated_secret(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # O_EXCL: of two processes that start together only one creates the secret.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        value = secrets.token_urlsafe(48)
        file.write(value)
    return value
