"""The plain PyTorch traversal: all trees of all rows go one level down at a time. Runs on any torch device."""

from __future__ import annotations

import numpy as np
import torch

from kernels.forest_margin import ForestArrays


def forest_margin(forest: ForestArrays, x: np.ndarray, device: str = "cpu") -> np.ndarray:
    """Return margins [B] float32; see the package for the contract."""
    return forest_contributions(forest, x, device)[0]


def forest_contributions(forest: ForestArrays, x: np.ndarray, device: str = "cpu") -> tuple[np.ndarray, np.ndarray]:
    """Return margins [B] and contributions [B, F] float32; see the package for the contract."""
    rows = torch.from_numpy(np.ascontiguousarray(x)).to(device)
    field = {name: torch.tensor(np.ascontiguousarray(forest.nodes[name]), device=device) for name in forest.nodes.dtype.names}
    mean = torch.tensor(forest.mean, device=device)
    at = torch.tensor(forest.roots, device=device).long().expand(len(rows), -1).clone()
    contributions = torch.zeros((len(rows), forest.features), dtype=torch.float32, device=device)
    while at.numel() and bool((active := field["feature"][at] >= 0).any()):
        feature = field["feature"][at].clamp(min=0).long()
        value = rows.gather(1, feature)
        goes_right = torch.where(value.isnan(), field["default_left"][at] == 0, ~(value < field["threshold"][at]))
        to = torch.where(active, field["left"][at].long() + goes_right.long(), at)
        contributions.scatter_add_(1, feature, mean[to] - mean[at])
        at = to
    # Added tree by tree in float32, the order in which the compiled kernel and XGBoost add.
    margin = torch.full((len(rows),), forest.base, dtype=torch.float32, device=device)
    for tree in range(at.shape[1]):
        margin += mean[at[:, tree]]
    return margin.cpu().numpy(), contributions.cpu().numpy()
