"""Totals of all engine processes of a host, whichever of them is asked.

Each process writes what it counts to a file of its own and holds a lock on it for as long as it lives, which the system
lets go of however it ends. Who adds up the files takes those whose lock is free as ended: their numbers go into `base.json`,
once, and their file goes. So totals never fall while one process goes and another comes, and nothing counts twice. A
process writes its file once a second and whenever it is asked, so no number that was ever told is lost with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

# A live process that has not written for so long hangs: its counters stay, its gauges say nothing about now.
FRESH_SECONDS = 15.0


@dataclass
class Totals:
    """`counters` over all processes that ever were, and the gauges of each live one by its name."""

    counters: dict[str, Any] = field(default_factory=dict)
    gauges: dict[str, dict[str, Any]] = field(default_factory=dict)


class MetricsFolder:
    """This process's file in the folder, from now until `close` or its end.

    Args:
        layout: what the shape of the numbers depends on; files of another layout are left out of the sum, as buckets
            with other bounds cannot be added.
    """

    def __init__(self, directory: Path, process: str, layout: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory, self._process, self._layout = directory, process, layout
        self._name = uuid.uuid4().hex
        with self._alone():  # or someone could find the file before it is locked
            self._lock = os.open(self._lock_file(self._name), os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def publish(self, counters: dict[str, Any], gauges: dict[str, Any]) -> None:
        """Write this process's numbers; readers see the old ones or the new ones, never a mixture."""
        content = {"layout": self._layout, "process": self._process, "counters": counters, "gauges": gauges}
        _write(self._file(self._name), content)

    def totals(self) -> Totals:
        """Add up what everyone wrote last, this process included."""
        with self._alone():
            base = self._base_with_the_ended()
            total = Totals(add(base["counters"], {}))
            for name in self._names():
                found = self._read(self._file(name))
                if found is None:
                    continue
                total.counters = add(total.counters, found["counters"])
                if time.time() - self._file(name).stat().st_mtime < FRESH_SECONDS:
                    total.gauges[found["process"]] = found["gauges"]
        return total

    def close(self) -> None:
        """Let the others take this process's numbers as those of one that has ended."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # --- the folder, while no one else adds up ---------------------------------------------------------------------

    def _base_with_the_ended(self) -> dict[str, Any]:
        """Move the numbers of processes that have ended into the base, and return it."""
        base = self._read(self._directory / "base.json") or {"layout": self._layout, "counters": {}, "ended": []}
        ended = [name for name in self._names() if self._has_ended(name)]
        if not ended:
            return base
        for name in ended:
            if name not in base["ended"] and (found := self._read(self._file(name))) is not None:
                base["counters"] = add(base["counters"], found["counters"])
        # The base names whom it holds: where this process ends before the files are gone, they are not added again.
        base["ended"] = ended
        _write(self._directory / "base.json", base)
        for name in ended:
            self._file(name).unlink(missing_ok=True)
            self._lock_file(name).unlink(missing_ok=True)
        for part in self._directory.glob("*.part"):
            if time.time() - part.stat().st_mtime > FRESH_SECONDS:
                part.unlink(missing_ok=True)
        return base

    def _has_ended(self, name: str) -> bool:
        if name == self._name:
            return False
        try:
            descriptor = os.open(self._lock_file(name), os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True

    def _names(self) -> list[str]:
        files = [*self._directory.glob("*.json"), *self._directory.glob("*.lock")]
        return sorted({file.stem for file in files} - {"base", "adding"})

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            # After a power loss; counters of Prometheus may begin again.
            logger.warning("%s cannot be read; what it counted is left out", path)
            return None
        return found if found["layout"] == self._layout else None

    def _file(self, name: str) -> Path:
        return self._directory / f"{name}.json"

    def _lock_file(self, name: str) -> Path:
        return self._directory / f"{name}.lock"

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        descriptor = os.open(self._directory / "adding.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def add(left: Any, right: Any) -> Any:
    """Add numbers, lists of numbers and dictionaries of them, whatever one side lacks; returns new ones."""
    if isinstance(left, dict):
        both = left | right
        return {key: add(left[key], right[key]) if key in left and key in right else value for key, value in both.items()}
    if isinstance(left, list):
        return [add(a, b) for a, b in zip(left, right, strict=True)]
    return left + right


def _write(path: Path, content: dict[str, Any]) -> None:
    part = path.with_suffix(f".{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
    part.write_text(json.dumps(content, separators=(",", ":")))
    os.replace(part, path)
