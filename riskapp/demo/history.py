"""The past goes into the ledger by the same path as live payments, and a first model is trained on it."""

from __future__ import annotations

import time
from collections import Counter

from riskapp.demo.plan import DemoPlan, in_chunks
from riskapp.demo.screen import Progress
from scoring.decisions.runtime import discard_engine
from scoring.models import TrainingRun
from scoring.rules.builtin import install_builtin_rules
from scoring.services.decide import decide_now
from scoring.services.record_labels import record_labels

_CHUNK = 1_000


def load_history(plan: DemoPlan, progress: Progress) -> Counter:
    """Decide on the history and record its labels; return counts of "decided", "refused" and "labels"."""
    install_builtin_rules()
    counts: Counter = Counter()
    began = time.monotonic()
    for chunk in in_chunks(plan.history, _CHUNK):
        results = decide_now([item.body for item in chunk if item.kind == "transaction"], backfill=True)
        good = sum(result["status"] == 200 for result in results)
        counts += Counter(decided=good, refused=len(results) - good)
        labels = [item.body for item in chunk if item.kind == "label"]
        counts["labels"] += sum("label_id" in result for result in record_labels(labels, "demo")) if labels else 0
        progress.note(f"{counts['decided']:,} payments into the ledger, {counts['decided'] / (time.monotonic() - began):,.0f}/s")
    discard_engine()  # the web process builds its own from the ledger
    return counts


def train_first() -> TrainingRun:
    """Train and, where it is any good, promote the first program."""
    from scoring.learning.run import carry_out
    from scoring.services.start_training import BOOTSTRAP, open_run

    return carry_out(open_run(BOOTSTRAP, "demo").pk)
