"""The children of a demo: each in a process group of its own, watched, and stopped without a trace."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_RESTARTS = 5


@dataclass
class Child:
    """One child process; `restart` where it may be started again if it dies."""

    name: str
    command: list[str]
    log: Path
    restart: bool = True
    restarts: int = 0
    process: subprocess.Popen | None = field(default=None, repr=False)


class Children:
    """Starts children in order and stops them in reverse."""

    def __init__(self, log_dir: Path) -> None:
        self._log_dir = log_dir
        self._children: list[Child] = []

    def start(self, name: str, command: list[str], *, restart: bool = True) -> None:
        """Start a child; its output goes to <name>.log."""
        child = Child(name, command, self._log_dir / f"{name}.log", restart)
        self._children.append(child)
        _spawn(child)

    def look_after(self) -> None:
        """Start children again that died.

        Raises:
            SystemExit: one died too often, or may not be started again; the message names its log.
        """
        for child in self._children:
            code = child.process.poll()
            if code is None:
                continue
            if not child.restart or child.restarts >= _RESTARTS:
                raise SystemExit(f"{child.name} stopped with code {code}; its log is {child.log}")
            child.restarts += 1
            _spawn(child)

    def stop(self) -> None:
        """Ask each to end, wait, and end by force what does not; the children's children too."""
        for child in reversed(self._children):
            _stop(child)
        self._children.clear()


def manage(*arguments: str) -> list[str]:
    """Return the command line of a management command, with this interpreter."""
    return [sys.executable, "manage.py", *arguments]


def _spawn(child: Child) -> None:
    with open(child.log, "ab") as log:
        child.process = subprocess.Popen(
            child.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            # A group of its own: Ctrl-C reaches the demo alone, which then stops the children in order.
            start_new_session=True, preexec_fn=_end_with_parent,
        )  # fmt: skip


def _end_with_parent() -> None:
    """Ask Linux to end this child if the demo itself is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop(child: Child, patience_s: float = 15.0) -> None:
    process = child.process
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:  # a pool's children end shortly after their parent
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        time.sleep(0.05)
