"""Which transaction ids may have been decided: what is surely new need not be looked up."""

from __future__ import annotations

import numpy as np

from scoring.engine import open_id_set


class KnownIds:
    """Hashes of the ids of recent decisions. One that is missing here but stored is found at the commit, by its index."""

    def __init__(self) -> None:
        self._ids = open_id_set()

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, text: bytes, starts: np.ndarray, lengths: np.ndarray) -> None:
        """Remember ids that have been decided: int32 [n] spans of `text`."""
        self._ids.add(text, starts, lengths)

    def may_hold_any(self, text: bytes, starts: np.ndarray, lengths: np.ndarray) -> bool:
        """Return whether one of them may have been decided."""
        return bool(self._ids.contains(text, starts, lengths).any())
