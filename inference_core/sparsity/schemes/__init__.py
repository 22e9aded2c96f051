"""Which weights may go together: one file a scheme, each named here (the contract suite finds one that is not)."""

from inference_core.sparsity.schemes.base import PruningScheme
from inference_core.sparsity.schemes.blocks import Blocks
from inference_core.sparsity.schemes.two_of_four import TwoOfFour
from inference_core.sparsity.schemes.unstructured import Unstructured

__all__ = ["SCHEMES", "Blocks", "PruningScheme", "TwoOfFour", "Unstructured"]

SCHEMES: tuple[type[PruningScheme], ...] = (Blocks, TwoOfFour, Unstructured)
