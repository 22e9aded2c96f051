"""Which transaction ids may have been decided: what is surely new need not be looked up."""

from __future__ import annotations

from collections.abc import Iterable


class KnownIds:
    """Ids of this process's recent decisions. One that is missing here but stored is found at the commit, by its index."""

    def __init__(self) -> None:
        self._ids: set[str] = set()

    def add(self, ids: Iterable[str]) -> None:
        """Remember that these have been decided."""
        self._ids.update(ids)

    def may_hold_any(self, ids: Iterable[str]) -> bool:
        """Return whether one of them may have been decided."""
        return not self._ids.isdisjoint(ids)
