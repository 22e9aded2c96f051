"""What this host can compute on, asked without touching an accelerator until somebody means to use one.

Importing this module asks nothing. `cpu_device` never loads torch. `detect_devices` loads torch only where the driver of
an accelerator has left its device files, and it initialises CUDA: call it in the process that will serve, after its
last fork (CUDA cannot be initialised again in a fork of a process that has used it).
"""

from __future__ import annotations

import enum
import functools
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference_core.errors import DeviceError
from kernels import native


class DeviceKind(enum.StrEnum):
    """Kinds of device; ROCm and Ascend run the same Triton source as CUDA."""

    CPU = "cpu"
    CUDA = "cuda"
    ROCM = "rocm"
    ASCEND = "ascend"


@dataclass(frozen=True)
class Device:
    """One device.

    Attributes:
        kind: what drives it.
        index: number among the devices of its kind.
        name: the maker's name, such as "NVIDIA H200".
        capability: the instruction set that decides which kernels run: "avx512vbmi", "avx2", "plain" or "reference" for
            a CPU, "sm_90" for CUDA, "gfx942" for ROCm, the chip's name for Ascend.
    """

    kind: DeviceKind
    index: int
    name: str
    capability: str

    @property
    def torch_name(self) -> str:
        """The name by which torch knows it; ROCm's devices call themselves cuda."""
        kind = {DeviceKind.ROCM: "cuda", DeviceKind.ASCEND: "npu"}.get(self.kind, self.kind.value)
        return "cpu" if self.kind is DeviceKind.CPU else f"{kind}:{self.index}"

    @property
    def label(self) -> str:
        """Short name, such as "cuda:0"."""
        return f"{self.kind}:{self.index}"

    @property
    def hardware(self) -> str:
        """Name under which measurements hold: those of other hardware are not believed."""
        return f"{self.kind} {self.name} {self.capability}"


@dataclass(frozen=True)
class Host:
    """The questions that detection asks; tests put other answers in their place."""

    cpu_variant: Callable[[], str]
    cpu_name: Callable[[], str]
    cores: Callable[[], int]
    has_file: Callable[[str], bool]
    load_torch: Callable[[], Any]
    load_torch_npu: Callable[[], Any]


# Left by the drivers of NVIDIA, AMD and Ascend; a host without any of them need not spend seconds on loading torch.
_CUDA_OR_ROCM_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
_ASCEND_FILES = ("/dev/davinci_manager",)


def detect_devices(host: Host | None = None) -> tuple[Device, ...]:
    """Return the CPU and then each accelerator that torch can use here.

    Raises:
        DeviceError: this process was forked from one that used CUDA.
    """
    host = host or THIS_HOST
    found = [cpu_device(host)]
    if any(map(host.has_file, _CUDA_OR_ROCM_FILES)):
        found += _cuda_or_rocm(host.load_torch())
    if any(map(host.has_file, _ASCEND_FILES)):
        found += _ascend(host.load_torch_npu())
    return tuple(found)


def cpu_device(host: Host | None = None) -> Device:
    """Return the CPU, with the variant of the compiled kernels that it runs and its number of cores in the name."""
    host = host or THIS_HOST
    return Device(DeviceKind.CPU, 0, f"{host.cpu_name()} x {host.cores()}", host.cpu_variant())


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cuda_or_rocm(torch: Any) -> list[Device]:
    if torch is None or not torch.cuda.is_available():
        return []
    if torch.cuda._is_in_bad_fork():
        raise DeviceError(
            "forked from a process that used CUDA: start this one before its parent touches a GPU, or use the CPU alone"
        )
    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        if torch.version.hip:
            capability = str(properties.gcnArchName).split(":")[0]
            found.append(Device(DeviceKind.ROCM, index, properties.name, capability))
        else:
            found.append(Device(DeviceKind.CUDA, index, properties.name, f"sm_{properties.major}{properties.minor}"))
    return found


def _ascend(torch_npu: Any) -> list[Device]:
    if torch_npu is None or not torch_npu.npu.is_available():
        return []
    names = [torch_npu.npu.get_device_name(index) for index in range(torch_npu.npu.device_count())]
    return [Device(DeviceKind.ASCEND, index, name, name) for index, name in enumerate(names)]


@functools.cache
def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _load_torch() -> Any:
    try:
        import torch
    except ImportError:
        return None
    return torch


def _load_torch_npu() -> Any:
    try:
        import torch_npu
    except ImportError:
        return None
    return torch_npu


def _cpu_variant() -> str:
    return native.cpu_variant()


THIS_HOST = Host(_cpu_variant, _cpu_name, usable_cores, os.path.exists, _load_torch, _load_torch_npu)
