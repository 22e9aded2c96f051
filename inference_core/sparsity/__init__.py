"""Weights with zeros that pay: which weights go (schemes, importance), when (schedule), and how they are kept (formats).

    pruner = GradualPruner(model, PruningSchedule(first_step=200, last_step=2_000, final_sparsity=0.8))
    ...
    loss.backward(); optimizer.step(); pruner.step(i)
    ...
    bitmap = FORMATS["bitmap"]
    save_sparse(path, {name: bitmap.pack(weight) for name, weight in pruner.weights.items()})

Importing this package imports torch; importing inference_core does not import this package.
"""

from inference_core.sparsity.distillation import distillation_loss
from inference_core.sparsity.files import load_sparse, save_sparse, stored_bytes
from inference_core.sparsity.formats import FORMATS, PackedWeight, StorageFormat
from inference_core.sparsity.gradual import GradualPruner
from inference_core.sparsity.importance import Importance
from inference_core.sparsity.pruning import dynamic_pruning, quantile_threshold, sparsity_of
from inference_core.sparsity.regrowth import Regrowth
from inference_core.sparsity.schedule import PruningSchedule
from inference_core.sparsity.schemes import SCHEMES, Blocks, PruningScheme, TwoOfFour, Unstructured

__all__ = [
    "FORMATS", "SCHEMES", "Blocks", "GradualPruner", "Importance", "PackedWeight", "PruningSchedule", "PruningScheme",
    "Regrowth", "StorageFormat", "TwoOfFour", "Unstructured", "distillation_loss", "dynamic_pruning", "load_sparse",
    "quantile_threshold", "save_sparse", "sparsity_of", "stored_bytes",
]  # fmt: skip
