"""The feature windows of the framework; the contract is that of `kernels.velocity_windows`."""

from kernels.errors import KernelInputError
from kernels.velocity_windows import (
    ABSENT,
    UNKNOWN,
    Aggregation,
    EventBatch,
    EventLogs,
    LogExport,
    WindowLayout,
    WindowStore,
    open_window_store,
)

__all__ = [
    "ABSENT",
    "UNKNOWN",
    "Aggregation",
    "EventBatch",
    "EventLogs",
    "KernelInputError",
    "LogExport",
    "WindowLayout",
    "WindowStore",
    "open_window_store",
]
