"""Models that learn: what they are, how they are trained, and how they become the integers that a program runs.

Importing this package imports torch; importing inference_core does not import this package.
"""

from inference_core.modalities.blending import fit_blend
from inference_core.modalities.drift import declared_drift
from inference_core.modalities.encoding import BinEncoding, choose_edges, encoding_of_forest
from inference_core.modalities.export import export_net
from inference_core.modalities.finishing import FinishingPlan, finish
from inference_core.modalities.losses import LossWeights
from inference_core.modalities.tabular import NetShape, TabularNet
from inference_core.modalities.thresholds import activation_sparsity, calibrate_thresholds
from inference_core.modalities.training import NetRows, NetTraining, train_net

__all__ = [
    "BinEncoding", "FinishingPlan", "LossWeights", "NetRows", "NetShape", "NetTraining", "TabularNet", "activation_sparsity",
    "calibrate_thresholds", "choose_edges", "declared_drift", "encoding_of_forest", "export_net", "finish", "fit_blend",
    "train_net",
]  # fmt: skip
