"""How the nets are trained: what the search on the validation folds chose."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from inference_core.modalities import FinishingPlan, LossWeights, NetShape, NetTraining

CHOSEN_FILE = Path(__file__).with_name("chosen.json")


@dataclass(frozen=True)
class NetRecipe:
    """Attributes:
    group: of feature columns that the net may read, a name out of accuracy's feature_groups; a card's last payments besides.
    good_share: share of the honest payments that are learned from; each then weighs 1 / good_share.
    shape, training, finishing: of the net.
    net_share: of the net in the blend; the forest has the rest.
    threshold_loss: relative loss of AP on the training rows that activation thresholds may cost.
    """

    group: str
    good_share: float
    shape: NetShape
    training: NetTraining
    finishing: FinishingPlan
    net_share: float
    threshold_loss: float

    @classmethod
    def from_json(cls, stored: dict) -> NetRecipe:
        training = dict(stored["training"])
        loss = LossWeights(**training.pop("loss"))
        shape = stored["shape"] | {"hidden": tuple(stored["shape"]["hidden"])}
        return cls(
            stored["group"],
            stored["good_share"], NetShape(**shape), NetTraining(**training, loss=loss), FinishingPlan(**stored["finishing"]),
            stored["net_share"], stored["threshold_loss"],
        )  # fmt: skip

    def to_json(self) -> dict:
        return asdict(self)


def read_chosen(path: Path = CHOSEN_FILE) -> dict[str, NetRecipe]:
    """Return kind -> recipe."""
    return {kind: NetRecipe.from_json(stored) for kind, stored in json.loads(path.read_text()).items()}
