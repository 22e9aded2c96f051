"""Runs of folds and seeds in processes of their own, one thread each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch

from tests.benchmarks.net.fold_run import FoldRun, run_fold
from tests.benchmarks.net.prepared import load_fold
from tests.benchmarks.net.recipe import NetRecipe


def available_jobs(device: str) -> int:
    """Return how many runs go at once: one a core, or on a GPU two, since more take turns there and only wait."""
    return len(os.sched_getaffinity(0)) if device == "cpu" else 2


def run_all(
    folder: Path, recipes: dict[str, NetRecipe], seeds: int, device: str, jobs: int, say: Callable[[str], None]
) -> Iterator[FoldRun]:
    """Yield a run of every prepared fold of a kind that has a recipe, with every seed; the first seed has the controls too."""
    tasks = [
        (path, recipes[path.stem.split("-")[0]], seed, device, seed == 1)
        for seed in range(1, seeds + 1)
        for path in sorted(folder.glob("*.npz"))
        if path.stem.split("-")[0] in recipes
    ]
    return _done(tasks, jobs, say)


def _done(tasks: list[tuple], jobs: int, say: Callable[[str], None]) -> Iterator[FoldRun]:
    # "spawn": a forked child of a process in which OpenMP or CUDA has run may hang.
    with ProcessPoolExecutor(jobs, get_context("spawn"), _one_thread) as pool:
        for number, future in enumerate(as_completed([pool.submit(_one, *task) for task in tasks]), start=1):
            run = future.result()
            say(f"{number}/{len(tasks)} {run.fold}, seed {run.seed}: {sum(run.seconds.values()):.0f} s")
            yield run


def _one_thread() -> None:
    torch.set_num_threads(1)


def _one(path: Path, recipe: NetRecipe, seed: int, device: str, controls: bool) -> FoldRun:
    return run_fold(load_fold(path), recipe, seed, torch.device(device), controls=controls)
