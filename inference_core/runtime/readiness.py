"""What happens to an executor before it serves: its variants are measured, chosen among, made and tried."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inference_core.errors import ProgramError
from inference_core.runtime.cost import CALIBRATION_ROWS, CostLine, CostTable, measure
from inference_core.runtime.devices import Device, DeviceKind
from inference_core.runtime.executor import DynamicVariant, Shape, StaticVariant
from inference_core.runtime.ladder import Ladder, has_missing
from kernels.errors import KernelInputError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Serving:
    """Attributes:
    devices: where a program is going to serve.
    largest_batch: rows; static programs are made for batches of up to so many.
    """

    devices: tuple[Device, ...]
    largest_batch: int

    def __post_init__(self) -> None:
        if not self.devices or self.largest_batch < 1:
            raise ProgramError("a program serves on at least one device, with batches of at least one row")


def measure_costs(ladder: Ladder, x: np.ndarray, memberships: np.ndarray | None, top: int) -> tuple[CostTable, ...]:
    """Time every variant on rows x [m, F], repeated as often as needed, and return a table for each hardware.

    A variant that does not take this program is left out.
    """
    lines: dict[str, list[CostLine]] = {}
    for variant in ladder.variants():
        try:
            line = _line(variant, x, memberships, top, ladder.config.largest)
        except KernelInputError as error:
            logger.info("%s is left out: %s", variant.name, error)
            continue
        except Exception:
            if variant.device.kind is DeviceKind.CPU:
                raise
            logger.exception("%s failed and is left out until the next program", variant.name)
            ladder.without_device()
            continue
        lines.setdefault(variant.device.hardware, []).append(line)
    return tuple(CostTable(hardware, tuple(of)) for hardware, of in lines.items())


def make_ready(
    ladder: Ladder, stored: Sequence[CostTable], x: np.ndarray, memberships: np.ndarray | None, top: int, largest: int
) -> None:
    """Choose the variants by cost and make the static programs for batches of up to `largest` rows.

    Lines that were measured on this very hardware are believed; otherwise they are measured now.
    """
    hardware = {variant.device.hardware for variant in ladder.variants()}
    costs = tuple(table for table in stored if table.hardware in hardware)
    measured = {line.variant for table in costs for line in table.lines}
    if not all(variant.name in measured for variant in ladder.dynamic_variants()):
        costs = measure_costs(ladder, x, memberships, top)
        logger.info("costs measured on %s", ", ".join(sorted(hardware)))
    ladder.use_costs(costs)
    ladder.warm(largest, tops=(top,), lists=(memberships is not None,))


def _line(
    variant: StaticVariant | DynamicVariant, x: np.ndarray, memberships: np.ndarray | None, top: int, largest: int
) -> CostLine:
    is_static = hasattr(variant, "prepare")
    sizes = [n for n in CALIBRATION_ROWS if not is_static or n <= min(largest, variant.most_rows)]
    rows = {n: np.resize(x, (n, x.shape[1])) for n in sizes}
    lists = {n: None if memberships is None else np.resize(memberships, (n, memberships.shape[1])) for n in sizes}
    if not is_static:
        return measure(variant.name, lambda n: variant.run(rows[n], lists[n], top), sizes)
    return _static_line(variant, rows, lists, top)


def _static_line(variant: StaticVariant, rows: dict[int, np.ndarray], lists: dict[int, np.ndarray | None], top: int) -> CostLine:
    if variant.needs_complete:
        rows = {n: np.nan_to_num(of) for n, of in rows.items()}
    programs = {n: variant.prepare(Shape(n, top, lists[n] is not None, variant.needs_complete)) for n in rows}

    def run(n: int) -> None:
        if variant.needs_complete:
            has_missing(rows[n])
        programs[n].run(rows[n], lists[n])

    return measure(variant.name, run, sorted(rows))
