"""One pass over the file: stream, train when a week of labels has matured, swap the program, score the test week."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import xgboost

from scoring.engine import RiskProgram
from scoring.features.schema import current_schema
from tests.benchmarks.accuracy.feature_groups import columns_of
from tests.benchmarks.accuracy.payments import Payments
from tests.benchmarks.accuracy.protocol import Figures, Fold, figures, rows_of_test_week
from tests.benchmarks.accuracy.recipe import Chosen, Recipe
from tests.benchmarks.accuracy.stream import PaymentStream, program_without_model
from tests.benchmarks.accuracy.training import TrainedModel, train, training_days

MARGIN_TOLERANCE = 1e-5


class MarginsDiffer(Exception):
    """The program does not say what XGBoost says of the same model and rows."""


@dataclass
class Variant:
    """What one way of training gave, a list entry a fold.

    Attributes:
        margin_gap: the largest difference between the program's margins and XGBoost's of the served model.
        averaging_gap: the same between the served model and the mean of the boosters that it was made of.
    """

    recipe: Recipe
    figures: list[Figures] = field(default_factory=list)
    training_rows: list[int] = field(default_factory=list)
    training_seconds: float = 0.0
    margin_gap: float = 0.0
    averaging_gap: float = 0.0


@dataclass
class BenchmarkResult:
    """Both variants, and what streaming cost."""

    folds: list[Fold]
    week: Variant
    history: Variant
    streamed: int = 0
    streaming_seconds: float = 0.0
    state_bytes: int = 0
    test_rows: list[int] = field(default_factory=list)
    test_frauds: list[int] = field(default_factory=list)


def run_benchmark(
    payments: Payments, folds: list[Fold], chosen: Chosen, *, threads: int, say: Callable[[str], None]
) -> BenchmarkResult:
    """Return the figures of all folds; their test weeks must follow one another."""
    result = BenchmarkResult(folds, Variant(chosen.week), Variant(chosen.history))
    pass_ = _Pass(payments, folds[-1].test_end, result, threads)
    pass_.advance(program_without_model(), folds[0].test_start)
    for fold in folds:
        say(f"fold of day {fold.train_start}: training on a week")
        weekly = pass_.train(result.week, fold)
        say(f"fold of day {fold.train_start}: training on all matured history")
        historical = pass_.train(result.history, fold)
        # The weekly model goes live here, for the week that nothing was learned from; the test rows are its decisions.
        program = weekly.program(f"week-{fold.train_start}")
        pass_.advance(program, fold.test_end)
        rows = rows_of_test_week(payments, fold)
        result.test_rows.append(len(rows))
        result.test_frauds.append(int(payments.fraud[rows].sum()))
        pass_.judge(result.week, weekly, fold, rows, pass_.stream.margin[rows])
        # The other one is run on the very rows that were served.
        challenger = historical.program(f"history-{fold.train_start}")
        pass_.judge(result.history, historical, fold, rows, challenger.run(pass_.wide(rows)).margin)
    result.streamed = payments.rows_of_days(0, folds[-1].test_end).stop
    result.state_bytes = pass_.stream.state.memory_bytes()
    return result


class _Pass:
    """The stream, the columns that it keeps, and what is done with them at a fold."""

    def __init__(self, payments: Payments, end_day: int, result: BenchmarkResult, threads: int) -> None:
        wanted = set(columns_of(result.week.recipe.group)) | set(columns_of(result.history.recipe.group))
        self._kept = tuple(name for name in current_schema().names if name in wanted)
        self._place = {name: i for i, name in enumerate(self._kept)}
        self._payments, self._result, self._threads = payments, result, threads
        self.stream = PaymentStream(payments, self._kept, end_day)

    def advance(self, program: RiskProgram, end_day: int) -> None:
        started = time.monotonic()
        self.stream.advance(program, end_day)
        self._result.streaming_seconds += time.monotonic() - started

    def train(self, variant: Variant, fold: Fold) -> TrainedModel:
        """Train on rows as they were served and labels as they were delivered."""
        started = time.monotonic()
        rows = self._payments.rows_of_days(*training_days(fold, variant.recipe))
        x = self._columns(self.stream.x[rows], columns_of(variant.recipe.group))
        model = train(variant.recipe, x, self.stream.known[rows], threads=self._threads)
        variant.training_rows.append(len(x))
        variant.training_seconds += time.monotonic() - started
        return model

    def judge(self, variant: Variant, model: TrainedModel, fold: Fold, rows: np.ndarray, margins: np.ndarray) -> None:
        """Hold the program's margins against XGBoost's, then the ranking against the truth.

        Raises:
            MarginsDiffer: they differ by more than MARGIN_TOLERANCE, of 1 or of the margin where that is more.
        """
        served = xgboost.Booster()
        served.load_model(bytearray(model.served_model()))
        names = list(current_schema().names)
        told = served.predict(xgboost.DMatrix(self.wide(rows), feature_names=names, nthread=self._threads), output_margin=True)
        # Relative beyond 1: XGBoost adds thousands of trees in float32 and loses digits that our exact sums keep.
        gap = float((np.abs(margins - told) / np.maximum(1.0, np.abs(told))).max())
        if not gap <= MARGIN_TOLERANCE:
            raise MarginsDiffer(f"fold of day {fold.train_start}: the program's margins differ from XGBoost's by {gap:.2e}")
        mean = model.margins(self._columns(self.stream.x[rows], model.columns))
        variant.margin_gap = max(variant.margin_gap, gap)
        variant.averaging_gap = max(variant.averaging_gap, float(np.abs(told - mean).max()))
        variant.figures.append(figures(self._payments, rows, margins))

    def wide(self, rows: np.ndarray) -> np.ndarray:
        """Return rows of the schema's width; columns that were not kept, which no model reads, are NaN."""
        x = np.full((len(rows), current_schema().width), np.nan, np.float32)
        x[:, [current_schema().index(name) for name in self._kept]] = self.stream.x[rows]
        return x

    def _columns(self, x: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        return x if names == self._kept else x[:, [self._place[name] for name in names]]
