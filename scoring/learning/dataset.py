"""Which rows a run fits, tunes and judges on: three periods by event time, newest last, and samples of bounded size.

    history_from        window_from              tune_from        gate_from        until (matured)
        |----- replay -------|------- window ---------|----- tune -----|----- gate -----|

The challenger is fitted on the window, with frauds of all history and a reservoir of the rest replayed. Its number of
trees and its calibration come from the tune period, and the gate period is seen by nothing before the gates. A champion
was fitted on rows before its own gate period, which is older, so neither side has seen the rows that it is judged on.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta

import numpy as np

from scoring.learning.sampling import Reservoir
from scoring.learning.snapshot import LeftOut, RowHeaders, Snapshot, iter_headers, read_features


@dataclass(frozen=True, slots=True)
class DataPlan:
    """Lengths of the periods in days, and how many rows of each may be held in memory (about 1 KB a row)."""

    gate_days: float = 7.0
    tune_days: float = 5.0
    window_days: float = 28.0
    history_days: float = 365.0
    # A short history is shared out instead: the newest periods take at most these shares of it.
    gate_share: float = 0.25
    tune_share: float = 0.15
    window_good_rows: int = 150_000
    window_fraud_rows: int = 30_000
    replay_good_rows: int = 40_000
    replay_fraud_rows: int = 30_000
    tune_rows: int = 60_000
    gate_rows: int = 120_000
    seed: int = 11


@dataclass(frozen=True, slots=True)
class Periods:
    """The boundaries of the drawing above; each period includes its start and excludes its end."""

    history_from: datetime
    window_from: datetime
    tune_from: datetime
    gate_from: datetime
    until: datetime

    def to_json(self) -> dict[str, str]:
        return {f.name: getattr(self, f.name).isoformat() for f in fields(self)}


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one purpose; `weight` [n] says how much each counts when fitting."""

    rows: RowHeaders
    weight: np.ndarray  # float32

    @property
    def frauds(self) -> int:
        return int((self.rows.label == 1).sum())

    def features(self, width: int) -> np.ndarray:
        """Read the features [n, width] float32 from the ledger."""
        return read_features(self.rows.seq, width)

    def counts(self) -> dict[str, int]:
        return {"rows": len(self.rows), "frauds": self.frauds}


@dataclass(frozen=True, slots=True)
class RowSample:
    """What a run works with; features are read part by part, when they are needed."""

    fit: Part
    tune: Part
    gate: Part
    left_out: LeftOut = field(default_factory=LeftOut)

    @property
    def digest(self) -> str:
        """Names the rows and their labels: equal digests mean that two attempts saw the same data."""
        sha = hashlib.sha256()
        for part in (self.fit, self.tune, self.gate):
            sha.update(part.rows.seq.tobytes() + part.rows.label.tobytes())
        return sha.hexdigest()[:16]

    def figures(self) -> dict:
        return {
            "fit": self.fit.counts(),
            "tune": self.tune.counts(),
            "gate": self.gate.counts(),
            "left_out": {"unsettled": self.left_out.unsettled, "other_schema": self.left_out.other_schema},
            "digest": self.digest,
        }


def plan_periods(snapshot: Snapshot, oldest: datetime, plan: DataPlan, *, whole_history: bool) -> Periods:
    """Return the boundaries for a ledger whose first usable row is from `oldest`.

    Args:
        whole_history: the window reaches back to the start, as a model trained from scratch needs.
    """
    until = snapshot.matured_until
    history_from = max(oldest, until - timedelta(days=plan.history_days))
    span = until - history_from
    gate_from = until - min(timedelta(days=plan.gate_days), plan.gate_share * span)
    tune_from = gate_from - min(timedelta(days=plan.tune_days), plan.tune_share * span)
    window_from = max(history_from, tune_from - timedelta(days=plan.window_days))
    return Periods(history_from, history_from if whole_history else window_from, tune_from, gate_from, until)


def draw_sample(snapshot: Snapshot, feature_schema: str, periods: Periods, plan: DataPlan) -> RowSample:
    """Read the row headers of all periods once and keep a bounded, seeded sample of each."""
    left_out = LeftOut()

    def stream(since: datetime, until: datetime):
        return iter_headers(snapshot, feature_schema, since=since, until=until, left_out=left_out)

    replay = _by_class(
        stream(periods.history_from, periods.window_from), plan.replay_fraud_rows, plan.replay_good_rows, plan.seed
    )
    window = _by_class(stream(periods.window_from, periods.tune_from), plan.window_fraud_rows, plan.window_good_rows, plan.seed)
    return RowSample(
        fit=_window_with_replay(window, replay),
        tune=_uniform(stream(periods.tune_from, periods.gate_from), plan.tune_rows, plan.seed + 1),
        gate=_uniform(stream(periods.gate_from, periods.until), plan.gate_rows, plan.seed + 2),
        left_out=left_out,
    )


def _by_class(chunks, fraud_rows: int, good_rows: int, seed: int) -> Part:
    """Keep frauds and good rows apart, each row weighing what it stands for, so that the fraud rate stays true."""
    frauds, goods = Reservoir(fraud_rows, seed), Reservoir(good_rows, seed)
    for chunk in chunks:
        frauds.add(chunk.where(chunk.label == 1))
        goods.add(chunk.where(chunk.label == 0))
    kept = RowHeaders.concatenate([frauds.rows(), goods.rows()])
    return Part(kept, np.where(kept.label == 1, frauds.weight, goods.weight).astype(np.float32))


def _uniform(chunks, size: int, seed: int) -> Part:
    """Keep rows of either class alike: figures are measured on these, and sampling must not move them."""
    reservoir = Reservoir(size, seed)
    for chunk in chunks:
        reservoir.add(chunk)
    kept = reservoir.rows()
    return Part(kept, np.ones(len(kept), np.float32))


def _window_with_replay(window: Part, replay: Part) -> Part:
    """Join the two; however long the history is, all of it together weighs no more than the window."""
    heaviest = float(window.weight.sum())
    total = float(replay.weight.sum())
    scale = min(1.0, heaviest / total) if total else 1.0
    return Part(
        RowHeaders.concatenate([replay.rows, window.rows]), np.concatenate([replay.weight * np.float32(scale), window.weight])
    )
