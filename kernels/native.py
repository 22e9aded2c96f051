"""The compiled library, where the install could build it."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

logger = logging.getLogger(__name__)


@functools.cache
def library() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None (said once, in the log) where the references have to do the work.

    RISKAPP_KERNELS=reference asks for the references by name.
    """
    if os.environ.get("RISKAPP_KERNELS") == "reference":
        return None
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_native{suffix}")
        if path.exists():
            return ctypes.CDLL(str(path))
    logger.warning(
        "no compiled kernels were found: the slow references are in use. "
        "Install a C compiler (Debian: gcc, libc6-dev) and run 'pip install -e .' again"
    )
    return None


def has_compiled_kernels() -> bool:
    """Return whether the compiled kernels do the work."""
    return library() is not None


def pointer(array) -> ctypes.c_void_p:
    """Return the address of a C-contiguous NumPy array's first element."""
    return ctypes.c_void_p(array.ctypes.data)
