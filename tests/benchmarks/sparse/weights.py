"""Random weights with zeros, made on the device that needs them."""

from __future__ import annotations

import numpy as np

from kernels.block_sparse_linear import BlockWeight


def random_blocks(
    outputs: int, inputs: int, zeros: float, block: tuple[int, int] = (128, 64), *, int8: bool = False, seed: int = 0
) -> BlockWeight:
    """Return a weight of normal values (bytes with int8) with exactly a share of blocks left out, anywhere."""
    rng, (height, width) = np.random.default_rng(seed), block
    rows, columns = outputs // height, inputs // width
    kept = np.zeros(rows * columns, bool)
    kept[rng.permutation(rows * columns)[: round(rows * columns * (1 - zeros))]] = True
    kept = kept.reshape(rows, columns)
    shape = (int(kept.sum()), height, width)
    values = rng.standard_normal(shape, np.float32) * np.float32((inputs * (1 - zeros)) ** -0.5)
    if int8:
        values = rng.integers(-127, 128, shape).astype(np.int8)
    offsets = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int32)
    return BlockWeight(outputs, inputs, values, np.nonzero(kept)[1].astype(np.int32), offsets)
