"""The ways of running one function: eager, torch.compile in its modes, and ours."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import torch

from inference_core import deepseek_fuse
from tests.benchmarks.fuse.functions import Case

EAGER, OURS = "eager", "deepseek_fuse"
COMPILE, OVERHEAD, STATIC = "torch.compile", "torch.compile reduce-overhead", "torch.compile for one size"
COMPILED = (COMPILE, OVERHEAD, STATIC)
# As it comes: dynamo sees a second size, compiles once more, and takes every batch from then on.
_MODES: dict[str, dict[str, Any]] = {COMPILE: {}, OVERHEAD: {"mode": "reduce-overhead"}, STATIC: {"dynamic": False}}


def own_copy(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with code of its own: dynamo keeps what it compiled, and how often, by code."""
    code = function.__code__.replace()
    return types.FunctionType(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)


class CaseEngines:
    """One case's functions; each size of `STATIC` is a function by itself."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.ours = deepseek_fuse(own_copy(case.function))
        self._shared = {name: torch.compile(own_copy(case.function), **_MODES[name]) for name in (COMPILE, OVERHEAD)}

    def functions(self) -> dict[str, Callable[..., Any]]:
        """Return name -> function for the next size."""
        return {
            EAGER: self.case.function,
            **self._shared,
            STATIC: torch.compile(own_copy(self.case.function), **_MODES[STATIC]),
            OURS: self.ours,
        }


def flat(result: Any) -> list[torch.Tensor]:
    """Return the tensors of a result."""
    return list(result) if isinstance(result, tuple) else [result]


def difference(result: Any, expected: Any) -> float:
    """Return the largest difference, relative to the largest value of its tensor; infinite where shapes, types or NaN differ.

    Positions must be the same, or be those of a tie: `cheapest_outcome` is called with none.
    """
    worst = 0.0
    for got, want in zip(flat(result), flat(expected), strict=True):
        if got.shape != want.shape or got.dtype != want.dtype or not torch.equal(got.isnan(), want.isnan()):
            return float("inf")
        if got.dtype == torch.int64:
            worst = max(worst, 0.0 if torch.equal(got, want) else float("inf"))
            continue
        scale = max(float(want.abs().nan_to_num().max()), 1e-30) if want.numel() else 1.0
        worst = max(worst, float((got - want).abs().nan_to_num().max()) / scale if want.numel() else 0.0)
    return worst
