"""Give a fresh database rules, a simulated history and a first model."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

from django.core.management.base import BaseCommand, CommandError

from scoring.errors import ScoringError
from scoring.ingest.feed import FeedItem, feed
from scoring.learning.bootstrap import train_first_model
from scoring.models import TrainingRun
from scoring.services.release_program import current_champion
from scoring.simulator import SimulatedStream, SimulationConfig, simulate

DAY_US = 86_400_000_000
# The rest of the history is decided with the model.
SHARE_BEFORE_THE_MODEL = 0.75


class Command(BaseCommand):
    """Does nothing where a champion serves already; an interrupted call can simply be repeated on the same day."""

    help = "Install the built-in rules, play a simulated history through the decision path, train and promote a first model."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--days", type=int, default=40, help="simulated days of history (default 40)")
        parser.add_argument("--customers", type=int, default=2_000, help="simulated customers (default 2000)")
        parser.add_argument("--seed", type=int, default=7, help="equal seeds give equal histories (default 7)")
        parser.add_argument(
            "--start", type=date.fromisoformat, help="first simulated day, YYYY-MM-DD (default: so that the history ends today)"
        )

    def handle(self, *, days: int, customers: int, seed: int, start: date | None, **_: object) -> None:
        champion = current_champion()
        if champion is not None:
            self.stdout.write(f"there is already a champion, {champion.version}: nothing to do")
            return
        first_day = start or datetime.now(UTC).date() - timedelta(days=days)
        try:
            midnight = datetime.combine(first_day, time.min, UTC)
            config = SimulationConfig(seed=seed, start=midnight, days=days, customers=customers)
            stream = simulate(config)
            self.stdout.write(f"{len(stream):,} payments of {customers:,} customers over {days} days from {first_day}")
            played, run = train_first_model(
                history_of(stream, days),
                first_training_us=config.start_us + int(SHARE_BEFORE_THE_MODEL * days * DAY_US),
                on_progress=_Progress(self.stdout, len(stream)),
            )
        except (ScoringError, ValueError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{played.transactions:,} payments and {played.labels:,} reports are in the ledger")
        self.stdout.write(figures_in_words(run))
        if run.state != TrainingRun.State.PROMOTED:
            raise CommandError(f"no model was released: {run.reason}")


def history_of(stream: SimulatedStream, days: float) -> Iterator[FeedItem]:
    """Yield the payments of the first `days` simulated days, and the reports that were made by then."""
    end_us = stream.config.start_us + int(days * DAY_US)
    for item in feed(stream.timed_transactions(), stream.timed_labels()):
        if item.at_us >= end_us:
            return
        yield item


def figures_in_words(run: TrainingRun) -> str:
    """Return what a finished run measured, a line a fact."""
    lines = [f"run {run.slot}: {run.state}"]
    if training := run.figures.get("training"):
        lines.append(
            f"  {training['method']}: {training['trees']} trees on {training['fit_rows']:,} rows in {training['seconds']:.1f} s"
        )
    if gate := run.figures.get("gate"):
        lines.append(f"  judged on {gate['rows']:,} matured rows with {gate['frauds']:,} frauds")
        lines += [f"  {'passed' if check['passed'] else 'FAILED'}: {check['text']}" for check in gate.get("checks", ())]
    elif run.reason:
        lines.append(f"  {run.reason}")
    return "\n".join(lines)


class _Progress:
    """Writes a line at each tenth of the payments and reports."""

    def __init__(self, stdout, expected: int) -> None:
        self._stdout, self._expected = stdout, max(expected, 1)
        self._items = self._tenths = 0

    def __call__(self, items: int) -> None:
        self._items += items
        tenths = min(10, 10 * self._items // self._expected)
        if tenths > self._tenths:
            self._tenths = tenths
            self._stdout.write(f"  {10 * tenths} %")
