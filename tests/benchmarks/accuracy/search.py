"""`--search`: choose the recipes on the four validation folds, which no reported figure comes from.

First many random recipes with one booster each, then the best of them with more boosters and other seeds. The figure that
decides is AP + CP@100, the mean over the folds. Everything tried is written down beside what was chosen.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from scoring.engine import Calibration, RiskProgram, default_policy
from scoring.features.schema import current_schema
from tests.benchmarks.accuracy.feature_groups import GROUPS, columns_of
from tests.benchmarks.accuracy.payments import Payments
from tests.benchmarks.accuracy.protocol import VALIDATION_DATES, Figures, Fold, figures, folds, mean_of, test_rows
from tests.benchmarks.accuracy.recipe import Recipe
from tests.benchmarks.accuracy.stream import PaymentStream
from tests.benchmarks.accuracy.training import train, training_days

WEEK, HISTORY = "week", "history"
ALL_DAYS = 10_000
_GROUPS = [group for group in GROUPS if group != "all"]


def random_recipe(kind: str, generator: np.random.Generator) -> Recipe:
    """Draw one recipe: `kind` is WEEK (seven training days) or HISTORY (all matured days)."""

    def one_of(*values):
        return values[generator.integers(len(values))]

    def between(low: float, high: float) -> float:
        return float(np.round(np.exp(generator.uniform(np.log(low), np.log(high))), 4))

    is_week = kind == WEEK
    eta = between(0.02, 0.08) if is_week else between(0.04, 0.12)
    return Recipe(
        group=one_of(*_GROUPS),
        history_days=7 if is_week else ALL_DAYS,
        first_day=0 if is_week else one_of(0, 14, 30, 37),
        good_share=1.0 if is_week else one_of(1.0, 0.5, 0.25),
        # Few and large steps where there are many rows: the command has to be done in minutes.
        trees=int(np.clip(between(3, 20) / eta, 60, 400 if is_week else 300)),
        boosters=1,
        parameters={
            "eta": eta,
            "max_depth": one_of(4, 5, 6, 7, 8),
            "subsample": one_of(0.7, 0.85, 1.0) if is_week else one_of(0.5, 0.7, 0.85),
            "colsample_bytree": one_of(0.35, 0.5, 0.65, 0.8),
            "min_child_weight": one_of(1, 3, 5, 10) if is_week else one_of(3, 5, 10, 20),
            "lambda": one_of(0.3, 1, 3),
            "gamma": one_of(0, 0.3, 1.0),
            "max_bin": one_of(256, 512, 1024),
            "scale_pos_weight": one_of(1, 3),
        },
    )


@dataclass(frozen=True)
class Trial:
    """A recipe and its figures, the means over the validation folds."""

    kind: str
    recipe: Recipe
    mean: Figures
    seconds: float

    @property
    def merit(self) -> float:
        """What is maximised."""
        return self.mean.ap + self.mean.cp100

    def to_json(self) -> dict:
        return {"kind": self.kind, **asdict(self.mean), "seconds": round(self.seconds, 1), "recipe": self.recipe.to_json()}


class ValidationRows:
    """Feature rows, labels and folds in a folder, so that each process of the search maps them instead of copying."""

    def __init__(self, folder: Path) -> None:
        self.x = np.load(folder / "x.npy", mmap_mode="r")
        arrays = np.load(folder / "payments.npz")
        self.payments = Payments(**{name: arrays[name] for name in Payments.__dataclass_fields__})
        self.place = {name: i for i, name in enumerate(columns_of("all"))}

    @staticmethod
    def write(payments: Payments, folder: Path) -> None:
        """Stream the payments up to the last validation week and store what the search needs of them."""
        end = folds(payments, VALIDATION_DATES)[-1].test_end
        schema = current_schema()
        nothing = RiskProgram(schema, (), (), None, Calibration.identity(), default_policy(), "no-model")
        stream = PaymentStream(payments, columns_of("all"))
        stream.advance(nothing, end)
        used = payments.rows_of_days(0, end).stop
        np.save(folder / "x.npy", stream.x[:used])
        # The days after the last validation week are not even in reach; the last row only keeps the file's length.
        np.savez(folder / "payments.npz", **{name: getattr(payments, name) for name in Payments.__dataclass_fields__})

    def figures(self, recipe: Recipe, fold: Fold) -> Figures:
        """Train on the fold and judge its test week."""
        columns = [self.place[name] for name in columns_of(recipe.group)]
        days = self.payments.rows_of_days(*training_days(fold, recipe))
        model = train(recipe, self.x[days][:, columns], self.payments.fraud[days], threads=1)
        rows = test_rows(self.payments, fold)
        read = [self.place[name] for name in model.columns]
        return figures(self.payments, rows, model.margins(self.x[rows][:, read]))


_rows: ValidationRows | None = None


def _open(folder: str) -> None:
    global _rows
    _rows = ValidationRows(Path(folder))


def _one(number: int, recipe: Recipe, fold: Fold) -> tuple[int, Figures, float]:
    started = time.monotonic()
    return number, _rows.figures(recipe, fold), time.monotonic() - started


def run_trials(folder: Path, kind: str, recipes: Iterable[Recipe], validation: list[Fold], jobs: int) -> Iterator[Trial]:
    """Yield each recipe's figures as they are complete."""
    recipes = list(recipes)
    parts: dict[int, list[tuple[Figures, float]]] = {}
    with ProcessPoolExecutor(jobs, get_context("spawn"), _open, (str(folder),)) as pool:
        futures = [pool.submit(_one, number, recipe, fold) for number, recipe in enumerate(recipes) for fold in validation]
        for future in as_completed(futures):
            number, one, seconds = future.result()
            parts.setdefault(number, []).append((one, seconds))
            if len(parts[number]) == len(validation):
                done = parts.pop(number)
                yield Trial(kind, recipes[number], mean_of([f for f, _ in done]), sum(s for _, s in done))


def search(payments: Payments, kind: str, *, trials: int, finalists: int, boosters: int, jobs: int, log: Path) -> Recipe:
    """Return the best recipe of one kind; every trial is appended to `log`, a JSON object a line."""
    validation = folds(payments, VALIDATION_DATES)
    generator = np.random.default_rng(20180402)
    with tempfile.TemporaryDirectory() as folder, log.open("a") as out:
        ValidationRows.write(payments, Path(folder))

        def tried(recipes: Iterable[Recipe]) -> list[Trial]:
            done = []
            for trial in run_trials(Path(folder), kind, recipes, validation, jobs):
                out.write(json.dumps(trial.to_json()) + "\n")
                out.flush()
                done.append(trial)
            return sorted(done, key=lambda trial: trial.merit, reverse=True)

        first = tried(random_recipe(kind, generator) for _ in range(trials))
        final = tried(replace(trial.recipe, boosters=boosters) for trial in first[:finalists])
    return final[0].recipe


def default_jobs() -> int:
    """Return how many processes the search uses: one a core."""
    return len(os.sched_getaffinity(0))
