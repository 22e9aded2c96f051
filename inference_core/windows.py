"""The feature windows of the framework; the contract is that of `kernels.velocity_windows`."""

from kernels.velocity_windows import ABSENT, UNKNOWN, Aggregation, EventBatch, WindowLayout, WindowStore, open_window_store

__all__ = ["ABSENT", "UNKNOWN", "Aggregation", "EventBatch", "WindowLayout", "WindowStore", "open_window_store"]
