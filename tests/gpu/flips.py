"""Do reference, CPU kernel and GPU kernels say the same of a million rows? Margins and rule words are compared bit by bit."""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import torch

from kernels import score_rows as cpu
from kernels.gpu import upload
from kernels.native import has_compiled_kernels
from kernels.score_rows import gpu_cuda, gpu_triton, reference
from tests.benchmarks.gpu.forest import Forest, random_forest
from tests.gpu.cases import rows_for

ROWS = 1_000_000
TOP = 4
_PART = 20_000


def check_flips(device: str, processes: int) -> dict:
    """Return how many rows differ, per million, and which implementations were compared."""
    forest = _forest()
    expected = _by_reference(processes)
    compared, differing = {"reference": 0}, np.zeros(ROWS, bool)
    for name, given in _implementations(forest, device):
        wrong = np.concatenate([_differs(got, want) for got, want in zip(given, expected, strict=True)])
        compared[name] = int(wrong.sum())
        differing |= wrong
    return {"rows": ROWS, "rows_that_differ": compared, "flips_per_million": int(differing.sum()) * 1_000_000 / ROWS}


def build_cpu_kernels() -> str:
    """Compile the CPU kernels in place where a compiler is found; return what happened."""
    if _library_is_there():
        return "found"
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        return "skipped: no C compiler"
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=root, capture_output=True, text=True)
    return "built" if run.returncode == 0 and _library_is_there() else f"skipped: {run.stderr.strip()[-200:] or 'not built'}"


def _library_is_there() -> bool:
    return (Path(cpu.__file__).parents[1] / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}").exists()


def _forest() -> Forest:
    return random_forest(missing_left=0.5)


def _rows(part: int) -> np.ndarray:
    return rows_for(np.random.default_rng(part), _forest().tables.cuts, _PART)


def _by_reference(processes: int) -> list[tuple]:
    # Processes of their own: NumPy takes minutes for a million rows on one core, and a CUDA process must not be forked.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return pool.map(_reference_part, range(ROWS // _PART), chunksize=1)


def _reference_part(part: int) -> tuple:
    return _told(reference.score_rows(_forest().tables, _rows(part), None, TOP))


def _told(scored) -> tuple:
    return scored.margin.view(np.uint32), scored.bits.hit, scored.bits.insufficient, scored.bits.error


def _differs(got: tuple, want: tuple) -> np.ndarray:
    return np.any([(a != b).reshape(_PART, -1).any(axis=1) for a, b in zip(got, want, strict=True)], axis=0)


def _implementations(forest: Forest, device: str):
    parts = [_rows(part) for part in range(ROWS // _PART)]
    if has_compiled_kernels():
        yield "cpu", [_told(cpu.score_rows(forest.tables, x, None, TOP)) for x in parts]
    tables = upload(forest.tables, device)
    on_device = [torch.from_numpy(x).to(device) for x in parts]
    for variant in ("row_parallel", "tree_parallel"):
        yield f"triton {variant}", [_told(gpu_triton.score_rows(tables, x, None, TOP, variant).to_host()) for x in on_device]
        if gpu_cuda.refusal(tables, TOP) is None:
            yield f"cuda {variant}", [_told(gpu_cuda.score_rows(tables, x, None, TOP, variant).to_host()) for x in on_device]
