"""`deepseek_fuse`: a plain function of tensors as one kernel where that moves fewer bytes, untouched where not; it says why."""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from inference_core.fusion.call_plan import MISS
from inference_core.fusion.cpu.build import NoCompiler
from inference_core.fusion.explain import explain
from inference_core.fusion.ir import NotFusable
from inference_core.fusion.plan import Plan, Refusal, make_plan
from inference_core.fusion.signature import CallShape, call_shape, parameters_of

# A function that is called with more different shapes (the batch aside) has no use for kernels compiled for each.
MOST_PLANS = 32


def deepseek_fuse(function: Callable[..., Any] | None = None, *, folder: Path | None = None) -> Any:
    """Return the function with its operations fused into one kernel for each combination of shapes; the batch is free.

        @deepseek_fuse
        def head(x, w1, b1, w2, b2):
            return torch.sigmoid(F.linear(F.relu(F.linear(x, w1, b1)), w2, b2))

    Arguments whose first dimension is the batch vary from row to row; all others are constants, and what depends on those alone
    is worked out once for a set of tensors (by identity, version and address) and again when they change. The function is
    recorded by running it once on stand-ins: it must not look at values or shapes, what it does beside computing happens then,
    and numbers that it takes from outside stay what they were.

    On the CPU it becomes C, compiled by the host's compiler at the first call (about a second; found again later); on a GPU it
    becomes Triton. The untouched function runs where a tensor requires a gradient, under autocast, for batch_norm in training,
    for other types than float32 and bool, for tensors that are not contiguous, for operations that are not known
    (known_calls.py), and where there is no compiler: PyTorch's Inductor needs one as well.

    Results equal the untouched function's to a few units in the last place of the largest value that goes into each.

    Args:
        function: of tensors, numbers and truths, by position or name; returns a tensor or a tuple of tensors.
        folder: where compiled code is kept; None for one of this user's own in the temporary directory.

    Returns:
        The function, with `explain()` -> text: what was fused into what, the bytes saved, and why calls were left untouched;
        `compilations` counts kernels that were built.
    """
    if function is None:
        return functools.partial(deepseek_fuse, folder=folder)
    from torch.compiler import is_compiling

    fused = FusedFunction(function, folder)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if is_compiling():  # torch.compile fuses around it; what it records is the plain function
            return function(*args, **kwargs)
        if not kwargs:
            try:
                result = fused.latest(args)
            except RuntimeError:  # a tensor that has no memory of its own, as within vmap
                result = MISS
            if result is not MISS:
                return result
        return fused.at_leisure(args, kwargs)

    call.explain = fused.explain  # type: ignore[attr-defined]
    call.fused = fused  # type: ignore[attr-defined]
    return call


class FusedFunction:
    """The plans of one function.

    Attributes:
        latest: the call of the plan that answered last; it answers MISS where its checks do not hold.
        compilations: kernels that were built.
        untouched: reason -> calls that ran the untouched function.
    """

    def __init__(self, function: Callable[..., Any], folder: Path | None) -> None:
        self.function = function
        self.compilations = 0
        self.untouched: Counter[str] = Counter()
        self.latest: Callable[[Sequence[Any]], Any] = lambda args: MISS
        self._folder = folder
        self._plans: list[Plan | Refusal] = []
        self._lock = threading.Lock()

    @property
    def plans(self) -> tuple[Plan | Refusal, ...]:
        return tuple(self._plans)

    def explain(self) -> str:
        """Return what was done for each combination of shapes, and why calls were left untouched."""
        return explain(self)

    def at_leisure(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Answer a call that the latest plan did not let through."""
        try:
            bound = parameters_of(self.function).bind(*args, **kwargs)
            bound.apply_defaults()
            given = bound.args
            shape = call_shape(given)
            plan = self._plan_for(shape)
            if isinstance(plan, Refusal):
                raise NotFusable(plan.reason)
            plan.check(given)
        except (NotFusable, TypeError) as refusal:  # a TypeError is a call that the function itself will refuse
            self.untouched[str(refusal)] += 1
            return self.function(*args, **kwargs)
        plan.call.admit(given)
        self.latest = plan.call
        result = plan.call.checked(given)
        # A constant that another thread changed at this moment: the next call folds it again.
        return self.function(*args, **kwargs) if result is MISS else result

    def _plan_for(self, shape: CallShape) -> Plan | Refusal:
        with self._lock:
            found = next((plan for plan in self._plans if plan.fits(shape)), None)
            if found is not None:
                return found
            if len(self._plans) >= MOST_PLANS:
                raise NotFusable(f"it was called with more than {MOST_PLANS} combinations of shapes")
            try:
                made: Plan | Refusal = make_plan(self.function, shape, self._folder)
                self.compilations += 1
            except (NotFusable, NoCompiler) as reason:
                made = Refusal(shape, str(reason))
            self._plans.append(made)
            return made
