"""Whole blocks of outputs x inputs, which matrix units skip as a whole (kernels/block_sparse_linear)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from inference_core.sparsity.schemes.base import PruningScheme, as_matrix, from_matrix, lowest


@dataclass(frozen=True)
class Blocks(PruningScheme):
    """Blocks of one size, judged by the root mean square of their scores; of a convolution, outputs x channels of one place.

    Attributes:
        outputs, inputs: of a block. The last blocks of a weight may be cut off.
        balanced: every row of blocks keeps as many: nothing waits for the fullest one when the rows run side by side.
    """

    outputs: int = 64
    inputs: int = 64
    balanced: bool = False

    def __post_init__(self) -> None:
        if self.outputs < 1 or self.inputs < 1:
            raise ValueError(f"a block has at least one output and one input; got {self.outputs} x {self.inputs}")

    def mask(self, scores: torch.Tensor, sparsity: float) -> torch.Tensor:
        """Return the mask; `sparsity` of the blocks go, which is near that share of the weights."""
        matrix = as_matrix(scores)
        # Weights that were pruned before have a score of -1: they count as nothing.
        worth = self._sums(matrix.float().clamp(min=0).square()) / self._sums(torch.ones_like(matrix, dtype=torch.float32))
        if self.balanced:
            gone = torch.stack([lowest(row, round(sparsity * len(row))) for row in worth])
        else:
            gone = lowest(worth, round(sparsity * worth.numel()))
        whole = (~gone).repeat_interleave(self.outputs, 0).repeat_interleave(self.inputs, 1)
        return from_matrix(whole[: matrix.shape[0], : matrix.shape[1]], scores.shape)

    def allows(self, weight: torch.Tensor) -> bool:
        """Return whether a block is kept whole or gone: no block has both zeros and others."""
        kept = as_matrix(weight != 0).float()
        filled, size = self._sums(kept), self._sums(torch.ones_like(kept))
        return bool(((filled == 0) | (filled == size)).all())

    def _sums(self, matrix: torch.Tensor) -> torch.Tensor:
        rows, columns = matrix.shape
        padded = functional.pad(matrix, (0, -columns % self.inputs, 0, -rows % self.outputs))
        return padded.reshape(-(-rows // self.outputs), self.outputs, -(-columns // self.inputs), self.inputs).sum((1, 3))

    @classmethod
    def examples(cls) -> list[PruningScheme]:
        return [cls(4, 4), cls(8, 2, balanced=True), cls(3, 5), cls(64, 64)]
