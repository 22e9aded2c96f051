"""What the GPU could do at best: the measured copy bandwidth, and how fast its multiprocessors read shared memory."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

import torch
from triton.testing import do_bench


@dataclass(frozen=True)
class Limits:
    """Attributes:
    bytes_per_s: read plus written, of a large copy on the device, measured.
    shared_loads_per_s: lanes of all multiprocessors, 32 a clock each at the highest clock, by the vendor's documents.
    """

    bytes_per_s: float
    shared_loads_per_s: float

    def floor(self, rows: int, bytes_a_row: float, loads_a_row: float) -> dict:
        """Return the time in us that a batch takes at least, and which of the two limits says so."""
        memory, shared = rows * bytes_a_row / self.bytes_per_s * 1e6, rows * loads_a_row / self.shared_loads_per_s * 1e6
        return {"floor_us": max(memory, shared), "limit": "bytes" if memory > shared else "shared memory"}


def measure_limits(index: int = 0) -> Limits:
    """Return the limits of a device."""
    a = torch.empty(2**29, dtype=torch.float32, device=f"cuda:{index}").normal_()
    b = torch.empty_like(a)
    copy_ms = do_bench(lambda: b.copy_(a), warmup=10, rep=50, return_mode="median")
    processors = torch.cuda.get_device_properties(index).multi_processor_count
    return Limits(2 * a.numel() * 4 / copy_ms * 1e3, processors * 32 * highest_clock_hz(index))


def highest_clock_hz(index: int) -> float:
    """Return the highest clock of the multiprocessors, from nvidia-smi."""
    return float(_query(index, "clocks.max.sm")) * 1e6


def driver_version(index: int) -> str:
    return _query(index, "driver_version")


def _query(index: int, name: str) -> str:
    command = ["nvidia-smi", f"--id={index}", f"--query-gpu={name}", "--format=csv,noheader,nounits"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
