"""What explain() says."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inference_core.fusion.decorator import FusedFunction
    from inference_core.fusion.plan import Plan, Refusal


def explain(of: FusedFunction) -> str:
    """Return one paragraph for each combination of shapes, then the calls that were left untouched, by reason."""
    name = getattr(of.function, "__name__", "the function")
    lines = [f"{name}: {of.compilations} kernels compiled"]
    for plan in of.plans:
        lines += _paragraph(plan)
    lines += [f"untouched, {calls} calls: {reason}" for reason, calls in of.untouched.most_common()]
    return "\n".join(lines if len(lines) > 1 else [f"{name}: not called yet"])


def _paragraph(plan: Plan | Refusal) -> list[str]:
    reason = getattr(plan, "reason", None)
    if reason is not None:
        shapes = ", ".join(str(list(one.shape)) for one in plan.shape.tensors)
        return [f"{shapes} on {plan.shape.device}: left untouched: {reason}"]
    shapes = ", ".join(
        str(["batch", *one.shape[1:]] if varies else list(one.shape)).replace("'", "")
        for one, varies in zip(plan.shape.tensors, plan.varying, strict=True)
    )
    constants = plan.kernel.constants
    lines = [f"{shapes} on {plan.shape.device}: {plan.kernel.account()}", f"  {plan.verdict.account()}"]
    lines += [f"  {account}" for account in plan.accounts]
    return [*lines, f"  constants worked out {constants.worked_out} times"]
