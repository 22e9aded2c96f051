"""`--search`: choose the recipes on the four validation folds, which no reported figure comes from.

First many random recipes with one booster each, then the best of them with several boosters. What decides is AP + CP@100,
each the mean over the folds. The choice goes to chosen.json, what was tried to search.md.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from tests.benchmarks.accuracy.payments import Payments
from tests.benchmarks.accuracy.protocol import Figures, Fold, mean_of
from tests.benchmarks.accuracy.recipe import Chosen, Recipe, write_chosen
from tests.benchmarks.accuracy.search_space import KINDS, Kind, random_recipe
from tests.benchmarks.accuracy.validation import ValidationRows, write_validation_rows

SEED = 20180402
TABLE_FILE = Path(__file__).with_name("search_results.md")
_SHOWN = 10


@dataclass(frozen=True)
class SearchPlan:
    """How much is tried: random recipes of each kind, how many of them again with `boosters`, and processes."""

    trials: int
    finalists: int
    boosters: int
    jobs: int


@dataclass(frozen=True)
class Trial:
    """A recipe and its figures, the means over the validation folds; `seconds` of one core for all of them."""

    kind: Kind
    recipe: Recipe
    mean: Figures
    seconds: float

    @property
    def merit(self) -> float:
        """What is maximised."""
        return self.mean.ap + self.mean.cp100


def search_and_write(payments: Payments, plan: SearchPlan, say: Callable[[str], None]) -> str:
    """Search both kinds, write the choice and the table, and return the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        validation = write_validation_rows(payments, folder)
        tried = {kind: _search(folder, kind, validation, plan, say) for kind in KINDS}
    best = {kind: max(_finalists(trials), key=lambda trial: trial.merit).recipe for kind, trials in tried.items()}
    write_chosen(Chosen(**best))
    table = results_table([trial for trials in tried.values() for trial in trials])
    TABLE_FILE.write_text(table)
    return table


def run_trials(folder: Path, kind: Kind, recipes: Iterable[Recipe], validation: list[Fold], jobs: int) -> Iterator[Trial]:
    """Yield each recipe's figures as soon as all its folds are done; every fold is a task of its own."""
    recipes = list(recipes)
    parts: dict[int, list[tuple[Figures, float]]] = {}
    # "spawn": a forked child of a process in which OpenMP has run may hang.
    with ProcessPoolExecutor(jobs, get_context("spawn"), _open, (str(folder),)) as pool:
        futures = [pool.submit(_one, number, recipe, fold) for number, recipe in enumerate(recipes) for fold in validation]
        for future in as_completed(futures):
            number, one, seconds = future.result()
            parts.setdefault(number, []).append((one, seconds))
            if len(parts[number]) == len(validation):
                done = parts.pop(number)
                yield Trial(kind, recipes[number], mean_of([f for f, _ in done]), sum(s for _, s in done))


def results_table(trials: list[Trial]) -> str:
    """Return Markdown: of each kind the finalists and the best of the random recipes."""
    parts = []
    for kind in KINDS:
        of_kind = sorted((t for t in trials if t.kind == kind), key=lambda t: t.merit, reverse=True)
        random = [t for t in of_kind if t.recipe.boosters == 1]
        parts.append(_section(f"{kind}: finalists, several boosters", _finalists(of_kind)))
        parts.append(_section(f"{kind}: best {min(_SHOWN, len(random))} of {len(random)} random recipes", random[:_SHOWN]))
    return "\n".join(parts)


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def _search(folder: Path, kind: Kind, validation: list[Fold], plan: SearchPlan, say: Callable[[str], None]) -> list[Trial]:
    generator = np.random.default_rng(SEED)
    first = _tried(folder, kind, [random_recipe(kind, generator) for _ in range(plan.trials)], validation, plan, say)
    best = sorted(first, key=lambda trial: trial.merit, reverse=True)[: plan.finalists]
    final = _tried(folder, kind, [replace(t.recipe, boosters=plan.boosters) for t in best], validation, plan, say)
    return first + final


def _tried(
    folder: Path, kind: Kind, recipes: list[Recipe], validation: list[Fold], plan: SearchPlan, say: Callable[[str], None]
) -> list[Trial]:
    trials = []
    for trial in run_trials(folder, kind, recipes, validation, plan.jobs):
        trials.append(trial)
        say(f"{kind} {len(trials)}/{len(recipes)}: AP {trial.mean.ap:.4f}, CP@100 {trial.mean.cp100:.4f}")
    return trials


def _finalists(trials: list[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.recipe.boosters > 1]


def _section(title: str, trials: list[Trial]) -> str:
    rows = [f"### {title}", "", "| AP | CP@100 | AUC ROC | core s | recipe |", "|---|---|---|---|---|"]
    for t in trials:
        recipe = asdict(t.recipe)
        text = json.dumps(recipe | recipe.pop("parameters")).translate(str.maketrans("", "", '{}"'))
        rows.append(f"| {t.mean.ap:.4f} | {t.mean.cp100:.4f} | {t.mean.auc:.4f} | {t.seconds:.0f} | {text} |")
    return "\n".join([*rows, ""])


_rows: ValidationRows | None = None


def _open(folder: str) -> None:
    """Map the rows once in each process of the pool."""
    global _rows
    _rows = ValidationRows(Path(folder))


def _one(number: int, recipe: Recipe, fold: Fold) -> tuple[int, Figures, float]:
    started = time.monotonic()
    return number, _rows.figures(recipe, fold), time.monotonic() - started
