"""Threads that all programs of a process share."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def shared_pool(name: str, threads: int) -> Callable[[], ThreadPoolExecutor]:
    """Return a function that returns the pool: made on first use, and again in a fork, where no thread goes along."""

    @functools.cache
    def pool() -> ThreadPoolExecutor:
        return ThreadPoolExecutor(threads, thread_name_prefix=name)

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=pool.cache_clear)
    return pool
