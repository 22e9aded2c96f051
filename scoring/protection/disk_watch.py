"""Free space of the volumes that decisions are written to: full disks are refused before they are met.

A database that runs out of space in the middle of a commit loses nothing, but may not start again without help; and what
cannot be logged any more cannot be explained. So writes stop at a floor, while there is still room to end in good order.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from scoring.errors import StorageFull

logger = logging.getLogger(__name__)

ALARM_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes of a volume; `free` is what a process without privileges may still use."""

    total: int
    free: int

    @property
    def used_share(self) -> float:
        return 1.0 - self.free / self.total if self.total else 1.0


def space_of(path: Path) -> Space:
    """Return the space of the volume that holds `path`."""
    found = os.statvfs(path)
    return Space((found.f_blocks - found.f_bfree + found.f_bavail) * found.f_frsize, found.f_bavail * found.f_frsize)


class DiskWatch:
    """Looks at volumes once a second; what it found is read for nothing.

    Args:
        paths: one or more on each volume; those on the same one count once.
        floor_bytes: with less free space than this, writes are refused. Twice as much lets them in again, so that a
            volume at the edge does not flicker.
        measure: space of the volume of a path; OSError where it cannot be told.
    """

    def __init__(
        self,
        paths: Iterable[Path],
        floor_bytes: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        measure: Callable[[Path], Space] = space_of,
    ) -> None:
        self._paths = _one_a_volume(paths)
        self._floor, self._clock, self._measure = floor_bytes, clock, measure
        self._next = 0.0
        self.spaces: dict[str, Space] = {}
        self.full: str | None = None

    @property
    def is_alarming(self) -> bool:
        """Whether a volume is fuller than ALARM_SHARE."""
        return any(space.used_share > ALARM_SHARE for space in self.spaces.values())

    def look(self) -> None:
        """Measure, at most once a second. A volume that cannot be measured any more counts as it was."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + 1.0
        for path in self._paths:
            try:
                self.spaces[str(path)] = self._measure(path)
            except OSError:
                logger.exception("the free space of %s cannot be told", path)
        floor = self._floor * (2 if self.full else 1)
        full = next((path for path, space in self.spaces.items() if space.free < floor), None)
        if full != self.full:
            self._tell(full)
        self.full = full

    def refuse_if_full(self) -> None:
        """Do nothing while there is room.

        Raises:
            StorageFull: a volume is below the floor.
        """
        if self.full is not None:
            raise StorageFull

    def _tell(self, full: str | None) -> None:
        if full is None:
            logger.info("there is room again; decisions are taken")
        else:
            free = self.spaces[full].free
            logger.error("%s has %d bytes left, below the floor of %d: decisions are refused", full, free, self._floor)


def _one_a_volume(paths: Iterable[Path]) -> list[Path]:
    found: dict[int, Path] = {}
    for path in paths:
        found.setdefault(os.stat(path).st_dev, path)
    return list(found.values())
