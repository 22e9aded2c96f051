"""What a person watches: one line that renews itself on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time


class Progress:
    """A progress line. Without a terminal a line is printed every `every_s` seconds."""

    def __init__(self, every_s: float = 10.0) -> None:
        self.on_terminal = sys.stdout.isatty()
        self._every_s = every_s
        self._next = 0.0
        self._open = False

    def note(self, text: str) -> None:
        """Show `text` as the present state."""
        now = time.monotonic()
        if self.on_terminal:
            print(f"\r\x1b[2K  {text}", end="", flush=True)
            self._open = True
        elif now >= self._next:
            print(f"  {text}", flush=True)
            self._next = now + self._every_s

    def done(self) -> None:
        """Leave the line as it is and begin a new one."""
        if self._open:
            print(flush=True)
        self._open, self._next = False, 0.0


def bar(done: int, total: int, width: int = 24) -> str:
    """Return e.g. "[######------] 50 %"."""
    share = min(done / total, 1.0) if total else 1.0
    full = round(share * width)
    return f"[{'#' * full}{'-' * (width - full)}] {share:4.0%}"
