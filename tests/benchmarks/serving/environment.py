"""What a reader must know about the machine to place a figure."""

from __future__ import annotations

import os
import platform
import shlex
import sqlite3
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import psutil

PACKAGES = (
    "django", "djangorestframework", "gunicorn", "uvicorn", "uvloop", "httptools", "msgspec", "psycopg", "numpy",
    "xgboost-cpu", "xgboost",
)  # fmt: skip


def describe(data_root: Path, cores: str) -> dict[str, str]:
    """Return label and text of everything that the report says about this run; `cores` is the pinning in words."""
    return {
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores",
        "Memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "Kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "SQLite": f"{sqlite3.sqlite_version}, WAL, synchronous=FULL, ours and the plain stack",
        "Packages": ", ".join(f"{name} {version}" for name, version in _versions()),
        "Disk": f"{_file_system(data_root)}, write + fdatasync of 4 KiB: median {_sync_us(data_root):.0f} us",
        "Cores": cores,
        "Commit": _commit(),
        "Date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Command": shlex.join(["python", "-m", "tests.benchmarks.serving", *sys.argv[1:]]),
    }


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _versions() -> list[tuple[str, str]]:
    installed = []
    for name in PACKAGES:
        try:
            installed.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            # Of the two builds of XGBoost only one is installed.
            continue
    return installed


def _file_system(directory: Path) -> str:
    mounts = [p for p in psutil.disk_partitions(all=True) if directory.resolve().is_relative_to(p.mountpoint)]
    return max(mounts, key=lambda p: len(p.mountpoint)).fstype if mounts else "unknown file system"


def _sync_us(directory: Path) -> float:
    """Return the median of 100: a disk that does not wait makes every durable figure look better than it is."""
    waits = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(100):
            started = time.perf_counter()
            os.write(file.fileno(), bytes(4096))
            os.fdatasync(file.fileno())
            waits.append(time.perf_counter() - started)
    return 1e6 * sorted(waits)[50]


def _commit() -> str:
    root = Path(__file__).resolve().parents[3]
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"
    return described.stdout.strip()
