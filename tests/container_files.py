"""Reads Dockerfile, .dockerignore and docker-compose.yml, for tests."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

import yaml

from tests.product_source import ROOT


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile; `stage` counts the FROM lines from 0."""

    stage: int
    keyword: str
    arguments: str


def dockerfile() -> list[Instruction]:
    """Return the instructions of the Dockerfile, continuation lines joined and comments left out."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    found: list[Instruction] = []
    stage = -1
    for line in filter(None, map(str.strip, joined.splitlines())):
        keyword, _, arguments = line.partition(" ")
        stage += keyword == "FROM"
        found.append(Instruction(stage, keyword.upper(), arguments.strip()))
    return found


def copied_from_repository() -> list[str]:
    """Return every source path of a COPY that takes from the build context."""
    copies = [step.arguments.split() for step in dockerfile() if step.keyword in ("COPY", "ADD")]
    return [source for words in copies if not words[0].startswith("--from=") for source in words[:-1]]


def sent_to_build(path: str) -> bool:
    """Return whether .dockerignore lets a path through; the last line that matches decides, as Docker does it."""
    allowed = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        wanted = pattern.startswith("!")
        pattern = pattern.lstrip("!")
        candidates = [PurePosixPath(path), *PurePosixPath(path).parents][:-1] or [PurePosixPath(path)]
        if any(_matches(candidate, pattern) for candidate in candidates):
            allowed = wanted
    return allowed


def _matches(path: PurePosixPath, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return path.match(pattern.removeprefix("**/"))
    return len(path.parts) == len(PurePosixPath(pattern).parts) and path.match(pattern)


def compose() -> dict:
    """Return docker-compose.yml with its merge keys resolved."""
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def is_pinned(image: str) -> bool:
    """Return whether an image names at least a major and a minor version."""
    return re.search(r":v?\d+\.\d+[\w.-]*$", image) is not None
