"""A net as PyTorch would run it: eager, dense, in float32, with its encoding worked out in tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from inference_core.modalities import TabularNet


class PlainNet(nn.Module):
    """The net of a TabularNet on rows of features, as PyTorch would run it: [B, F] float32 -> log-odds [B]."""

    def __init__(self, net: TabularNet) -> None:
        super().__init__()
        edges = net.encoding.edges
        self.register_buffer("edges", torch.cat([torch.from_numpy(of.copy()) for of in edges]))
        self.register_buffer("column", torch.repeat_interleave(torch.arange(len(edges)), torch.tensor([len(of) for of in edges])))
        rows, starts = net.expanded_increments().detach(), np.cumsum([len(of) + 1 for of in edges])
        missing = torch.zeros(len(rows), dtype=torch.bool)
        missing[torch.from_numpy(starts - 1)] = True
        self.passed, self.missing = nn.Parameter(rows[~missing]), nn.Parameter(rows[missing])
        self.bias, self.scale = net.bias, net.scale
        self.weights, self.head, self.head_bias = net.weights, net.head, net.head_bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the members' mean log-odds."""
        over = (x[:, self.column] >= self.edges).to(x.dtype)
        given = torch.addmm(torch.isnan(x).to(x.dtype) @ self.missing, over, self.passed)[None]
        given = ((given + self.bias[0][:, None]) * self.scale[0][:, None]).relu()
        for layer, weight in enumerate(self.weights, start=1):
            given = ((given @ weight + self.bias[layer][:, None]) * self.scale[layer][:, None]).relu()
        return (torch.einsum("kbo,ko->bk", given, self.head) + self.head_bias).mean(1)
