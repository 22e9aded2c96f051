"""Running a program: which devices there are, what each costs, and the ladder of static and dynamic variants."""

from __future__ import annotations

from collections.abc import Sequence

from inference_core.runtime import cpu, gpu
from inference_core.runtime.cost import CostLine, CostTable
from inference_core.runtime.devices import Device, DeviceKind, cpu_device, detect_devices
from inference_core.runtime.executor import DynamicVariant, Executor, Shape, StaticVariant
from inference_core.runtime.ladder import Ladder, LadderConfig, LadderCounters
from inference_core.runtime.readiness import Serving, make_ready, measure_costs
from kernels.score_rows import ScoreTables

__all__ = [
    "CostLine",
    "CostTable",
    "Device",
    "DeviceKind",
    "Executor",
    "Ladder",
    "LadderConfig",
    "LadderCounters",
    "Serving",
    "Shape",
    "cpu_device",
    "default_executor",
    "detect_devices",
    "make_ready",
    "measure_costs",
]


def default_executor(tables: ScoreTables, devices: Sequence[Device] | None = None, config: LadderConfig | None = None) -> Ladder:
    """Return the executor of a program on these devices; on the CPU alone where none are named.

    Nothing is measured or compiled here, and no accelerator is touched before it is named: see make_ready.
    """
    static: list[StaticVariant] = []
    dynamic: list[DynamicVariant] = []
    for device in devices or (cpu_device(),):
        of_device = (cpu if device.kind is DeviceKind.CPU else gpu).variants(tables, device)
        static += of_device[0]
        dynamic += of_device[1]
    return Ladder(tables, static, dynamic, config)
