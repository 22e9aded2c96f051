"""How a run's net is shaped, trained and judged; plain numbers, so that reading them imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scoring.engine import FinishingPlan, NetShape, NetTraining


class NetWish(Enum):
    """Whether a run trains a net: never; and takes it if it helps; and takes it in any case."""

    NEVER = "never"
    IF_IT_HELPS = "if it helps"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class NetParameters:
    """Shares and rates are dimensionless; where the numbers come from is told in tests/benchmarks/net/search.md.

    Attributes:
        width, members, dropout: of the net; see inference_core.modalities.NetShape.
        dense_steps, finishing_steps: about so many steps are made in float32, and then pruning and in integers, however many
            rows there are: what a net costs is bounded.
        patience, batch_rows, learning_rate, weight_decay, good_share, fraud_weight, ranking: of the dense training.
        sparsities: shares of zeros that are tried in turn, the largest first; none is pruned where all of them lose too much.
        sparsity_loss: of AP on the tune rows, relative, that pruning and integers may cost.
        activity: weight of the mean activation while pruning.
        threshold_loss: of AP on the tune rows, relative, that activation thresholds may cost.
        min_fit_frauds, min_tune_frauds: with fewer there is nothing to learn, or to see whether it helps.
        confidence: of the interval whose lower end must lie above zero for a net to be taken.
    """

    width: int = 128
    members: int = 8
    dropout: float = 0.5
    dense_steps: int = 320
    finishing_steps: int = 320
    patience: int = 3
    batch_rows: int = 1024
    learning_rate: float = 2.5e-3
    weight_decay: float = 0.3
    good_share: float = 0.3
    fraud_weight: float = 10.0
    ranking: float = 1.0
    sparsities: tuple[float, ...] = (0.9,)
    sparsity_loss: float = 0.01
    activity: float = 3e-3
    threshold_loss: float = 0.002
    min_fit_frauds: int = 200
    min_tune_frauds: int = 50
    confidence: float = 0.8
    resamples: int = 200
    threads: int = 2
    seed: int = 7

    def shape(self) -> NetShape:
        from scoring.engine import NetShape

        return NetShape(self.width, (self.width,), self.members, self.dropout)

    def training(self, frauds: int, goods: int) -> NetTraining:
        """Return the dense training of so many rows of each class."""
        from scoring.engine import LossWeights, NetTraining

        return NetTraining(
            epochs=self._epochs(self.dense_steps, frauds, goods), patience=self.patience,
            batch_rows=self.batch_rows, learning_rate=self.learning_rate,
            weight_decay=self.weight_decay, good_share=self.good_share,
            loss=LossWeights(fraud=self.fraud_weight, ranking=self.ranking), seed=self.seed,
        )  # fmt: skip

    def finishing(self, frauds: int, goods: int, sparsity: float) -> FinishingPlan:
        """Return the pruning and the training in integers on so many rows of each class."""
        from scoring.engine import FinishingPlan

        epochs = self._epochs(self.finishing_steps, frauds, goods)
        return FinishingPlan(epochs=epochs, sparsity=sparsity, activity=self.activity)

    def _epochs(self, steps: int, frauds: int, goods: int) -> int:
        rows = frauds + self.good_share * goods
        return max(2, round(steps * self.batch_rows / rows))
