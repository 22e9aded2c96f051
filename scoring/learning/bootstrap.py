"""From an empty database to a model that serves: a history is played through the decision path, then learnt from.

The history is played by event time, payments and reports mixed as they would have arrived, so that features, labels and
maturity are those of a system that had been running all along. No alerts come of it: it is over, and nobody should work
through thousands of payments that were reviewed for want of a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from scoring.decisions.runtime import get_engine
from scoring.errors import ScoringError
from scoring.ingest.feed import FeedItem
from scoring.learning.net_parameters import NetWish
from scoring.learning.run import LearningConfig, carry_out
from scoring.models import TrainingRun
from scoring.rules.builtin import install_builtin_rules
from scoring.services.decide import decide_now
from scoring.services.record_labels import record_labels
from scoring.services.start_training import BOOTSTRAP, open_run

ACTOR = "bootstrap"
CHUNK_ITEMS = 1_000

OnProgress = Callable[[int], None]


class HistoryRefused(ScoringError):
    """An item of the history is not a valid payment or report."""

    code = "history_refused"


@dataclass(slots=True)
class Played:
    """How much of a history is in the ledger."""

    transactions: int = 0
    labels: int = 0
    refused: int = 0
    first_refusal: str = ""


def train_first_model(
    history: Iterable[FeedItem],
    *,
    first_training_us: int,
    on_progress: OnProgress = lambda items: None,
    config: LearningConfig | None = None,
    strict: bool = True,
) -> tuple[Played, TrainingRun]:
    """Play the history, training and promoting a model when its clock reaches `first_training_us`.

    What comes after that moment is decided with the model, so that its figures on matured labels exist from the start.
    Calling it again with the same history is harmless: known payments and labels are found, not stored twice.

    Args:
        history: payments and reports in order of time, as `ingest.feed.feed` gives them.
        first_training_us: microseconds since 1970.
        on_progress: called with the number of items that were just stored.
        strict: an item that is refused ends everything; otherwise it is counted and left out.

    Returns:
        What was played, and the run: promoted, or refused or skipped with its reason.

    Raises:
        HistoryRefused: an item was refused and `strict` is set; the message says why.
    """
    install_builtin_rules()
    engine = get_engine()
    engine.refresh()
    played, run = Played(), None
    for chunk in _chunks(history, first_training_us):
        if run is None and chunk[0].at_us >= first_training_us:
            run = _train(config)
        _play(chunk, played, strict=strict)
        engine.refresh()  # labels and a new model take effect as they would have, shortly afterwards
        on_progress(len(chunk))
    if run is None or run.state != TrainingRun.State.PROMOTED:
        run = _train(config)  # it was too early for a model then, perhaps it is not now
    return played, run


def _train(config: LearningConfig | None) -> TrainingRun:
    run = open_run(BOOTSTRAP, actor=ACTOR)
    # Someone waits for this model; the next run tries a net beside it.
    concluded = carry_out(run.pk, config or LearningConfig(net_wish=NetWish.NEVER))
    if concluded is None:
        raise ScoringError(f"the training run {run.slot} is in the hands of another worker; wait for it or try again")
    get_engine().refresh()
    return concluded


def _chunks(history: Iterable[FeedItem], cut_us: int) -> Iterator[list[FeedItem]]:
    """Yield the items in pieces of bounded size, none of which spans the moment `cut_us`."""
    chunk: list[FeedItem] = []
    for item in history:
        if chunk and (len(chunk) >= CHUNK_ITEMS or chunk[0].at_us < cut_us <= item.at_us):
            yield chunk
            chunk = []
        chunk.append(item)
    if chunk:
        yield chunk


def _play(chunk: list[FeedItem], played: Played, *, strict: bool) -> None:
    transactions = [item.body for item in chunk if item.kind == "transaction"]
    labels = [item.body for item in chunk if item.kind == "label"]
    played.transactions += _stored(decide_now(transactions, backfill=True), "payment", played, strict)
    if labels:
        played.labels += _stored(record_labels(labels, ACTOR), "report", played, strict)


def _stored(results: list[dict], what: str, played: Played, strict: bool) -> int:
    """Return how many were stored; note those that were refused."""
    refused = [result["error"] for result in results if result["status"] >= 400]
    if refused:
        reason = f"a {what} of the history was refused: {refused[0]}"
        if strict:
            raise HistoryRefused(reason)
        played.refused += len(refused)
        played.first_refusal = played.first_refusal or reason
    return len(results) - len(refused)
