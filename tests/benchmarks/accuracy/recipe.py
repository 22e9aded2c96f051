"""How one model is trained: what the search chooses, and what a run reads back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

CHOSEN_FILE = Path(__file__).with_name("chosen.json")


@dataclass(frozen=True)
class Recipe:
    """One model's hyper-parameters.

    Attributes:
        group: of feature columns, a name out of feature_groups.GROUPS.
        history_days: how many days before the end of the training week are learned from, that week included.
        first_day: days before this one (counted from the file's first) are left out, since their windows were not yet full.
        good_share: share of the honest payments that each booster sees, from 0 to 1; the kept ones weigh 1 / good_share.
        trees: rounds of one booster.
        boosters: how many, of different seeds, are averaged into the model.
        parameters: XGBoost's own.
    """

    group: str
    history_days: int
    first_day: int
    good_share: float
    trees: int
    boosters: int
    parameters: dict[str, float]

    def to_json(self) -> dict:
        return asdict(self)


@dataclass(frozen=True)
class Chosen:
    """The recipes that the search chose: for one week of training days, and for all matured history."""

    week: Recipe
    history: Recipe


def read_chosen(path: Path = CHOSEN_FILE) -> Chosen:
    """Return what the last search chose."""
    stored = json.loads(path.read_text())
    return Chosen(week=Recipe(**stored["week"]), history=Recipe(**stored["history"]))


def write_chosen(chosen: Chosen, path: Path = CHOSEN_FILE) -> None:
    """Replace the chosen recipes."""
    path.write_text(json.dumps({"week": chosen.week.to_json(), "history": chosen.history.to_json()}, indent=2) + "\n")
