"""Means and intervals over folds and seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tests.benchmarks.net.fold_run import FoldRun

AUC, AP, CP100 = range(3)
FOREST, DENSE, TRAINED_ON, INT8 = "forest", "float32", "float32, trained on", "int8, in training"
PRUNED, PRUNED_INT8, FINISHED = "pruned float32", "pruned int8", "pruned int8, thresholds"
_RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A mean over folds and seeds, and the interval in which 95 % of resampled means lie."""

    mean: float
    low: float
    high: float


class Runs:
    """All runs of one kind of training."""

    def __init__(self, runs: list[FoldRun], kind: str) -> None:
        self._runs = sorted((run for run in runs if run.fold.startswith(f"{kind}-")), key=lambda run: (run.seed, run.fold))
        self.seeds = len({run.seed for run in self._runs})

    def __bool__(self) -> bool:
        return bool(self._runs)

    @property
    def stages(self) -> list[str]:
        """In the order of the first run, which has the controls."""
        return list(self._runs[0].stages)

    def figure(self, stage: str, which: int, *, blended: bool) -> Estimate:
        """Return a figure's mean; seeds are resampled within folds, since the folds are the protocol's own."""
        return self.estimate(lambda run: _figures(run, stage, blended)[which] if stage in run.stages else None)

    def estimate(self, of: Callable[[FoldRun], float | None]) -> Estimate:
        """Return the mean of what `of` gives for each run that has it."""
        by_fold: dict[str, list[float]] = {}
        for run in self._runs:
            if (value := of(run)) is not None:
                by_fold.setdefault(run.fold, []).append(value)
        generator = np.random.default_rng(1)
        resampled = [
            np.mean([np.mean(generator.choice(values, len(values))) for values in by_fold.values()]) for _ in range(_RESAMPLES)
        ]
        mean = float(np.mean([np.mean(values) for values in by_fold.values()]))
        low, high = np.quantile(resampled, [0.025, 0.975])
        return Estimate(mean, float(low), float(high))

    def relative_loss(self, stage: str, against: str, *, blended: bool) -> float:
        """Return by what share the mean AP of `stage` lies below that of `against`, over the runs that have both."""
        both = [run for run in self._runs if stage in run.stages and against in run.stages]
        means = [np.mean([_figures(run, name, blended)[AP] for run in both]) for name in (stage, against)]
        return float(1 - means[0] / means[1])

    def bytes(self) -> dict[str, float]:
        """Return the mean bytes of each way to keep the parameters."""
        return {name: float(np.mean([run.bytes[name] for run in self._runs])) for name in self._runs[0].bytes}


def _figures(run: FoldRun, stage: str, blended: bool) -> tuple[float, float, float]:
    of = run.stages[stage]
    return of.blend if blended else of.net
