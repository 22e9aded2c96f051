"""Weights with zeros that pay: which weights go (schemes, importance), when (schedule), and how they are kept (formats).

    pruner = GradualPruner(model, PruningSchedule(first_step=200, last_step=2_000, final_sparsity=0.8))
    ...
    loss.backward(); optimizer.step(); pruner.step(i)
    ...
    bitmap = storage_formats()["bitmap"]
    save_sparse(path, {name: bitmap.pack(weight) for name, weight in pruner.weights.items()})

Importing this package imports torch; importing inference_core does not import this package.
"""

from inference_core.sparsity.distillation import distillation_loss
from inference_core.sparsity.files import load_sparse, save_sparse, stored_bytes
from inference_core.sparsity.formats import PackedWeight, StorageFormat, storage_formats
from inference_core.sparsity.gradual import GradualPruner
from inference_core.sparsity.importance import Importance
from inference_core.sparsity.pruning import dynamic_pruning, quantile_threshold, sparsity_of
from inference_core.sparsity.regrowth import Regrowth
from inference_core.sparsity.schedule import PruningSchedule
from inference_core.sparsity.schemes import PruningScheme, pruning_schemes
from inference_core.sparsity.schemes.blocks import Blocks
from inference_core.sparsity.schemes.two_of_four import TwoOfFour
from inference_core.sparsity.schemes.unstructured import Unstructured

__all__ = [
    "Blocks", "GradualPruner", "Importance", "PackedWeight", "PruningSchedule", "PruningScheme", "Regrowth", "StorageFormat",
    "TwoOfFour", "Unstructured", "distillation_loss", "dynamic_pruning", "load_sparse", "pruning_schemes", "quantile_threshold",
    "save_sparse", "sparsity_of", "storage_formats", "stored_bytes",
]  # fmt: skip
