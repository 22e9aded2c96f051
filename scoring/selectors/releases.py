"""Program releases and the training runs that build them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Named here for the dashboard, which a roll-back may tell that an artifact does not verify.
from scoring.engine import ArtifactRefused
from scoring.models import ProgramRelease, TrainingRun
from scoring.selectors.intervals import Interval

__all__ = [
    "ArtifactRefused",
    "Check",
    "Comparison",
    "TrainingRunRow",
    "champion",
    "champion_version",
    "releases",
    "roll_back_target",
    "training_runs",
]

RELEASES = 25
RUNS = 25


@dataclass(frozen=True, slots=True)
class Check:
    """One gate that a challenger had to pass, with its outcome in words."""

    name: str
    passed: bool
    text: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Challenger and champion on the same newest matured rows; the champion's figures are None for a first model.

    `difference` is AP of the challenger minus AP of the champion (paired bootstrap). Costs are the mean cost of a
    decision in minor units of `currency`.
    """

    rows: int
    frauds: int
    challenger_ap: Interval
    champion_ap: Interval | None
    difference: Interval | None
    currency: str
    challenger_cost_minor: float
    champion_cost_minor: float | None
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class TrainingRunRow:
    """A run, and what its gate compared; None where it did not come that far.

    Attributes:
        net: why a net stands beside the challenger's forest, or why none does; empty where that was not asked.
    """

    run: TrainingRun
    comparison: Comparison | None
    seconds: float | None
    net: str


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """A release, and the comparison that it was promoted or refused on."""

    release: ProgramRelease
    comparison: Comparison | None


def champion() -> ProgramRelease | None:
    """Return the release that serves, None where only rules do."""
    return ProgramRelease.objects.filter(state=ProgramRelease.State.CHAMPION).first()


def champion_version() -> str | None:
    """Return the version of the release that serves."""
    found = ProgramRelease.objects.filter(state=ProgramRelease.State.CHAMPION)
    return found.values_list("version", flat=True).first()


def roll_back_target(serving: ProgramRelease | None) -> ProgramRelease | None:
    """Return the release that a roll-back from `serving` brings back: the champion before it."""
    if serving is None or serving.promoted_at is None:
        return None
    retired = ProgramRelease.objects.filter(state=ProgramRelease.State.RETIRED, promoted_at__lt=serving.promoted_at)
    return retired.order_by("-promoted_at", "-id").first()


def releases(size: int = RELEASES) -> tuple[ReleaseRow, ...]:
    """Return the newest releases, each with its parent."""
    found = ProgramRelease.objects.select_related("parent").order_by("-id")[:size]
    return tuple(ReleaseRow(release, _comparison(release.figures)) for release in found)


def training_runs(size: int = RUNS) -> tuple[TrainingRunRow, ...]:
    """Return the newest training runs, each with its champion and challenger."""
    found = TrainingRun.objects.select_related("champion", "challenger").order_by("-id")[:size]
    return tuple(TrainingRunRow(run, _comparison(run.figures), _seconds(run), net_in_words(run.figures)) for run in found)


def net_in_words(figures: dict[str, Any]) -> str:
    """Return what became of the net that a run may train; empty where it came to none."""
    return figures.get("training", {}).get("net", {}).get("reason", "")


def _seconds(run: TrainingRun) -> float | None:
    if run.started_at is None or run.finished_at is None:
        return None
    return (run.finished_at - run.started_at).total_seconds()


def _comparison(figures: dict[str, Any]) -> Comparison | None:
    gate = figures.get("gate")
    # A run that was skipped has figures of its data, and none of a challenger.
    if not gate or "challenger" not in gate:
        return None
    champion_figures, money = gate.get("champion"), gate.get("money") or {}
    return Comparison(
        rows=gate["rows"],
        frauds=gate["frauds"],
        challenger_ap=_interval(gate["challenger"]["ap"]),
        champion_ap=_interval(champion_figures["ap"]) if champion_figures else None,
        difference=_interval(gate["ap_difference"]) if "ap_difference" in gate else None,
        currency=money.get("currency", ""),
        challenger_cost_minor=money.get("challenger_minor"),
        champion_cost_minor=money.get("champion_minor"),
        checks=tuple(Check(c["name"], c["passed"], c["text"]) for c in gate.get("checks", ())),
    )


def _interval(stored: dict[str, float]) -> Interval:
    return Interval(stored["estimate"], stored["low"], stored["high"])
