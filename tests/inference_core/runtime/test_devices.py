"""Detection of devices, by what a host of each kind would answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import inference_core
from inference_core.errors import DeviceError
from inference_core.runtime.devices import THIS_HOST, Device, DeviceKind, Host, cpu_device, detect_devices, usable_cores
from kernels import native

ROOT = Path(inference_core.__file__).parents[1]


class FakeCuda:
    def __init__(self, *properties: SimpleNamespace, available: bool = True, forked: bool = False) -> None:
        self._properties, self._available, self._forked = properties, available, forked

    def is_available(self) -> bool:
        return self._available

    def _is_in_bad_fork(self) -> bool:
        return self._forked

    def device_count(self) -> int:
        return len(self._properties)

    def get_device_properties(self, index: int) -> SimpleNamespace:
        return self._properties[index]


def host(*files: str, torch=None, torch_npu=None) -> Host:
    """A host with these device files; a loader that is called without need fails the test."""

    def load(what):
        def loader():
            assert what is not None, "loaded without a device file"
            return what if what != "absent" else None

        return loader

    return Host(lambda: "avx2", lambda: "Test CPU", lambda: 4, files.__contains__, load(torch), load(torch_npu))


def fake_torch(cuda: FakeCuda, hip: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(cuda=cuda, version=SimpleNamespace(hip=hip))


H200 = SimpleNamespace(name="NVIDIA H200", major=9, minor=0)
MI300 = SimpleNamespace(name="AMD Instinct MI300X", major=9, minor=4, gcnArchName="gfx942:sramecc+:xnack-")
CPU = Device(DeviceKind.CPU, 0, "Test CPU x 4", "avx2")


def test_a_host_without_accelerators_loads_no_torch():
    assert detect_devices(host()) == (CPU,)


def test_nvidia_gpus_are_found_with_their_architecture():
    found = detect_devices(host("/dev/nvidiactl", torch=fake_torch(FakeCuda(H200, H200))))
    assert found == (CPU, *(Device(DeviceKind.CUDA, i, "NVIDIA H200", "sm_90") for i in range(2)))
    assert [device.torch_name for device in found] == ["cpu", "cuda:0", "cuda:1"]
    assert [device.label for device in found] == ["cpu:0", "cuda:0", "cuda:1"]


def test_amd_gpus_are_told_from_nvidia_ones_by_torchs_build():
    found = detect_devices(host("/dev/kfd", torch=fake_torch(FakeCuda(MI300), hip="6.2")))
    assert found == (CPU, Device(DeviceKind.ROCM, 0, "AMD Instinct MI300X", "gfx942"))
    assert (found[1].torch_name, found[1].label) == ("cuda:0", "rocm:0")


def test_ascend_chips_are_found_through_their_back_end():
    npu = SimpleNamespace(is_available=lambda: True, device_count=lambda: 1, get_device_name=lambda i: "Ascend910B3")
    found = detect_devices(host("/dev/davinci_manager", torch_npu=SimpleNamespace(npu=npu)))
    assert found == (CPU, Device(DeviceKind.ASCEND, 0, "Ascend910B3", "Ascend910B3"))
    assert found[1].torch_name == "npu:0"


@pytest.mark.parametrize(
    "of",
    [
        host("/dev/nvidiactl", torch="absent"),
        host("/dev/nvidiactl", torch=fake_torch(FakeCuda(H200, available=False))),
        host("/dev/davinci_manager", torch_npu="absent"),
        host(
            "/dev/davinci_manager",
            torch_npu=SimpleNamespace(npu=SimpleNamespace(is_available=lambda: False)),
        ),
    ],
)
def test_a_driver_without_a_working_back_end_is_a_host_with_its_cpu_alone(of):
    assert detect_devices(of) == (CPU,)


def test_a_fork_of_a_process_that_used_cuda_is_told_what_to_do():
    with pytest.raises(DeviceError, match="forked from a process that used CUDA: start this one before"):
        detect_devices(host("/dev/nvidiactl", torch=fake_torch(FakeCuda(H200, forked=True))))


def test_hardware_tells_machines_apart():
    names = {
        Device(*of).hardware for of in [("cpu", 0, "A x 2", "avx2"), ("cpu", 0, "A x 4", "avx2"), ("cpu", 0, "A x 2", "plain")]
    }
    assert len(names) == 3
    assert Device(DeviceKind.CUDA, 0, "G", "sm_90").hardware == Device(DeviceKind.CUDA, 1, "G", "sm_90").hardware


def test_this_host_has_a_cpu_with_a_name():
    device = cpu_device()
    assert device.kind is DeviceKind.CPU and device.name.endswith(f" x {usable_cores()}") and len(device.name) > 4
    assert device.capability == native.cpu_variant()
    assert detect_devices()[0] == device


@pytest.mark.skipif(any(map(os.path.exists, ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg"))), reason="has a GPU's device file")
def test_importing_and_running_on_the_cpu_loads_no_torch():
    program = (
        "import sys; from inference_core.runtime import default_executor, detect_devices; "
        "from tests.inference_core.runtime.tables import rows, tables; of = tables(1); "
        "default_executor(of).run(*rows(of, 1, 3), 2); detect_devices(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_loaders_of_this_host_give_the_module_or_none():
    assert THIS_HOST.load_torch() is not None
    assert THIS_HOST.load_torch_npu() is None or sys.modules["torch_npu"]
