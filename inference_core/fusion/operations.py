"""The operations on elements and the reductions: what each is in PyTorch (the truth), in C and in Triton.

A new one is a line here, and the tests find it by themselves. C and Triton call what is in cpu/vector_math.h and gpu/math.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inference_core.fusion.ir import Kind


@dataclass(frozen=True)
class Elementwise:
    """Attributes:
    torch: the name of the function in torch.
    c, triton: expressions; {0}, {1}, {2} are the operands.
    arity: number of operands.
    kind: of the result.
    cost: about how many multiplications it takes; a dear one is worked out once rather than for each user.
    """

    torch: str
    c: str
    triton: str
    arity: int = 1
    kind: Kind = Kind.NUMBER
    cost: int = 1


@dataclass(frozen=True)
class Reduction:
    """Attributes:
    torch: the name of the function in torch; it takes dim.
    start: the value of no elements, for C.
    c: how an element {1} joins what was gathered {0}, in C.
    simd: the operator of OpenMP's reduction clause.
    """

    torch: str
    start: str
    c: str
    simd: str


def _operator(sign: str) -> dict[str, str]:
    return {"c": f"({{0}} {sign} {{1}})", "triton": f"({{0}} {sign} {{1}})"}


def _function(name: str) -> dict[str, str]:
    return {"c": f"fuse_{name}({{0}})", "triton": f"fuse_{name}({{0}})"}


_TWO: dict[str, Any] = {"arity": 2}
_COMPARE: dict[str, Any] = {"arity": 2, "kind": Kind.TRUTH}

ELEMENTWISE: dict[str, Elementwise] = {
    "add": Elementwise("add", **_operator("+"), **_TWO),
    "sub": Elementwise("sub", **_operator("-"), **_TWO),
    "mul": Elementwise("mul", **_operator("*"), **_TWO),
    "div": Elementwise("div", **_operator("/"), **_TWO, cost=4),
    "maximum": Elementwise("maximum", "fuse_maximum({0}, {1})", "fuse_maximum({0}, {1})", **_TWO),
    "minimum": Elementwise("minimum", "fuse_minimum({0}, {1})", "fuse_minimum({0}, {1})", **_TWO),
    "neg": Elementwise("neg", "(-{0})", "(-{0})"),
    "abs": Elementwise("abs", "fabsf({0})", "tl.abs({0})"),
    "sqrt": Elementwise("sqrt", "sqrtf({0})", "tl.sqrt_rn({0})", cost=6),
    "rsqrt": Elementwise("rsqrt", "(1.0f / sqrtf({0}))", "(1.0 / tl.sqrt_rn({0}))", cost=10),
    "exp": Elementwise("exp", **_function("exp"), cost=12),
    "expm1": Elementwise("expm1", **_function("expm1"), cost=30),
    "log": Elementwise("log", **_function("log"), cost=14),
    "log1p": Elementwise("log1p", **_function("log1p"), cost=20),
    "asinh": Elementwise("asinh", **_function("asinh"), cost=30),
    "tanh": Elementwise("tanh", **_function("tanh"), cost=25),
    "sigmoid": Elementwise("sigmoid", **_function("sigmoid"), cost=16),
    "erf": Elementwise("erf", **_function("erf"), cost=25),
    "lt": Elementwise("lt", **_operator("<"), **_COMPARE),
    "le": Elementwise("le", **_operator("<="), **_COMPARE),
    "gt": Elementwise("gt", **_operator(">"), **_COMPARE),
    "ge": Elementwise("ge", **_operator(">="), **_COMPARE),
    "eq": Elementwise("eq", **_operator("=="), **_COMPARE),
    "ne": Elementwise("ne", **_operator("!="), **_COMPARE),
    "logical_and": Elementwise("logical_and", **_operator("&"), **_COMPARE),
    "logical_or": Elementwise("logical_or", **_operator("|"), **_COMPARE),
    "logical_not": Elementwise("logical_not", "(!{0})", "(~{0})", kind=Kind.TRUTH),
    "isnan": Elementwise("isnan", "({0} != {0})", "({0} != {0})", kind=Kind.TRUTH),
    "number": Elementwise("number", "((float){0})", "{0}.to(tl.float32)"),
    "where": Elementwise("where", "({0} ? {1} : {2})", "tl.where({0}, {1}, {2})", arity=3),
}

REDUCTIONS: dict[str, Reduction] = {
    "sum": Reduction("sum", "0.0f", "({0} + {1})", "+"),
    "prod": Reduction("prod", "1.0f", "({0} * {1})", "*"),
    "amax": Reduction("amax", "-INFINITY", "fuse_maximum({0}, {1})", "max"),
    "amin": Reduction("amin", "INFINITY", "fuse_minimum({0}, {1})", "min"),
    "argmax": Reduction("argmax", "0", "", ""),
    "argmin": Reduction("argmin", "0", "", ""),
}
POSITIONS = ("argmax", "argmin")
VIEWS = ("reshape", "narrow", "transpose")
LEAVES = ("argument", "constant")
MATRIX = ("linear", "conv2d")


def cost_of(op: str) -> int:
    """Return about how many multiplications an element of this operation takes; 0 for a leaf or a view."""
    return ELEMENTWISE[op].cost if op in ELEMENTWISE else 0

