"""What threads owe the decisions that are made beside them."""

from __future__ import annotations

import os
import sys
import threading

_NICENESS = 10


def give_way() -> None:
    """Let the system prefer the process's other threads to this one, for as long as it lives; threads that it starts inherit it.

    For threads that work long without the interpreter, such as on files: on one core they would halve the decisions' pace.
    """
    if sys.platform == "linux":  # elsewhere a niceness is the whole process's
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
