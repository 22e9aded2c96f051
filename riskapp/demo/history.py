"""The past goes into the ledger by the same path as live payments, and a first model is trained on the way."""

from __future__ import annotations

import threading
import time

from riskapp.demo.plan import DemoPlan
from riskapp.demo.screen import Progress
from scoring.decisions.runtime import discard_engine
from scoring.learning.bootstrap import Played, train_first_model
from scoring.models import TrainingRun


def play_history(plan: DemoPlan, progress: Progress, stop: threading.Event) -> tuple[Played, TrainingRun]:
    """Decide on the history, record its labels, train at its three quarters, and return what came of it.

    Raises:
        KeyboardInterrupt: `stop` was set meanwhile.
    """
    began = time.monotonic()
    done = 0

    def note(items: int) -> None:
        nonlocal done
        if stop.is_set():
            raise KeyboardInterrupt
        done += items
        progress.note(f"{done:,} payments and reports into the ledger, {done / (time.monotonic() - began):,.0f}/s")

    played, run = train_first_model(plan.history, first_training_us=plan.train_at_us, on_progress=note, strict=False)
    progress.done()
    discard_engine()  # the web process builds its own from the ledger
    return played, run
