"""What is understood of PyTorch: functions, operators and methods, each with how it enters the graph.

A handler takes the CallBuilder and the call's own arguments, tensors as `Ref`; Python binds them, so that what it does not name
is refused. Anything that is not here leaves the function untouched.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from inference_core.fusion.ir import Builder, Kind, Node, NotFusable
from inference_core.fusion.operations import POSITIONS, REDUCTIONS

_MOST_POWER = 8


@dataclass(frozen=True, slots=True)
class Ref:
    """A tensor, by the place of its node."""

    at: int


@dataclass(frozen=True, slots=True)
class _Extreme:
    """What x.min(dim) returns: values and positions."""

    values: Ref
    indices: Ref


class CallBuilder(Builder):
    """Attributes:
    done: calls that were understood so far.
    launches: how many of them PyTorch runs as an operation of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.done = 0
        self.launches = 0

    def node(self, ref: Ref) -> Node:
        return self.nodes[ref.at]

    def number(self, value: Any) -> int:
        """Return the place of a number: a tensor's, truths turned into 0 and 1, or a plain Python number's.

        Raises:
            NotFusable: it is something else.
        """
        if isinstance(value, Ref):
            node = self.node(value)
            if node.kind is Kind.POSITION:
                raise NotFusable("positions (argmin, argmax) can be returned, not computed with")
            return self.elementwise("number", value.at) if node.kind is Kind.TRUTH else value.at
        if isinstance(value, (bool, int, float)):
            return self.constant(value)
        raise NotFusable(f"an operand is {type(value).__name__}; tensors and numbers can be fused")

    def truth(self, value: Any) -> int:
        if not isinstance(value, Ref) or self.node(value).kind is not Kind.TRUTH:
            raise NotFusable("a condition that is not a tensor of truths")
        return value.at

    def full_rank(self, ref: Ref) -> int:
        node = self.node(ref)
        return len(node.row) + int(node.varies)

    def row_dimension(self, ref: Ref, dim: Any, what: str, extra: int = 0) -> int:
        """Return which dimension of the row `dim` is.

        Raises:
            NotFusable: it is the batch, or there is no such dimension.
        """
        rank = self.full_rank(ref) + extra
        if isinstance(dim, bool) or not isinstance(dim, int) or not -rank <= dim < rank:
            raise NotFusable(f"{what} over dimension {dim!r}")
        at = dim % rank - int(self.node(ref).varies)
        if at < 0:
            raise NotFusable(f"{what} over the batch mixes rows")
        return at


Handler = Callable[..., Any]


def _launch(builder: CallBuilder, at: int) -> Ref:
    builder.launches += 1
    return Ref(at)


# --- elements ------------------------------------------------------------------------------------------------------------


def _unary(op: str) -> Handler:
    return lambda b, input: _launch(b, b.elementwise(op, b.number(_tensor(b, input))))


def _tensor(builder: CallBuilder, value: Any) -> Ref:
    if not isinstance(value, Ref):
        raise NotFusable(f"an operand is {type(value).__name__} where a tensor is expected")
    return value


def _arithmetic(op: str) -> Handler:
    def handle(b: CallBuilder, input: Any, other: Any) -> Ref:
        if all(isinstance(one, Ref) and b.node(one).kind is Kind.TRUTH for one in (input, other)):
            raise NotFusable(f"{op} of two tensors of truths")
        _no_whole_numbers(b, input, other)
        return _launch(b, b.elementwise(op, b.number(input), b.number(other)))

    return handle


def _no_whole_numbers(builder: CallBuilder, *values: Any) -> None:
    """PyTorch answers int64 where truths meet whole numbers; here numbers are float32."""
    truths = any(isinstance(one, Ref) and builder.node(one).kind is Kind.TRUTH for one in values)
    if truths and any(isinstance(one, int) for one in values):
        raise NotFusable("truths with a whole number give whole numbers; numbers that are fused are float32")


def _scaled(op: str) -> Handler:
    plain = _arithmetic(op)

    def handle(b: CallBuilder, input: Any, other: Any, *, alpha: Any = 1) -> Ref:
        if alpha != 1:
            other = Ref(b.elementwise("mul", b.number(other), b.number(alpha)))
        return plain(b, input, other)

    return handle


def _compare(op: str) -> Handler:
    return lambda b, input, other: _launch(b, b.elementwise(op, b.number(input), b.number(other), kind=Kind.TRUTH))


def _connective(op: str) -> Handler:
    return lambda b, input, other: _launch(b, b.elementwise(op, b.truth(input), b.truth(other), kind=Kind.TRUTH))


def _not(b: CallBuilder, input: Any) -> Ref:
    return _launch(b, b.elementwise("logical_not", b.truth(input), kind=Kind.TRUTH))


def _isnan(b: CallBuilder, input: Any) -> Ref:
    return _launch(b, b.elementwise("isnan", b.number(_tensor(b, input)), kind=Kind.TRUTH))


def _where(b: CallBuilder, condition: Any, input: Any, other: Any) -> Ref:
    if all(isinstance(one, Ref) and b.node(one).kind is Kind.TRUTH for one in (input, other)):
        raise NotFusable("where between two tensors of truths")
    _no_whole_numbers(b, input, other)
    return _launch(b, b.elementwise("where", b.truth(condition), b.number(input), b.number(other)))


def _masked_fill(b: CallBuilder, input: Any, mask: Any, value: Any) -> Ref:
    return _launch(b, b.elementwise("where", b.truth(mask), b.number(value), b.number(_tensor(b, input))))


def _clamp(b: CallBuilder, input: Any, min: Any = None, max: Any = None) -> Ref:
    at = b.number(_tensor(b, input))
    at = at if min is None else b.elementwise("maximum", at, b.number(min))
    return _launch(b, at if max is None else b.elementwise("minimum", at, b.number(max)))


def _relu(b: CallBuilder, input: Any, inplace: bool = False) -> Ref:
    if inplace:
        raise NotFusable("relu in place changes a tensor that the caller may hold")
    return _launch(b, b.elementwise("maximum", b.number(_tensor(b, input)), b.constant(0)))


def _leaky_relu(b: CallBuilder, input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Ref:
    if inplace:
        raise NotFusable("leaky_relu in place changes a tensor that the caller may hold")
    at = b.number(_tensor(b, input))
    negative = b.elementwise("mul", at, b.number(negative_slope))
    positive = b.elementwise("gt", at, b.constant(0), kind=Kind.TRUTH)
    return _launch(b, b.elementwise("where", positive, at, negative))


def _silu(b: CallBuilder, input: Any, inplace: bool = False) -> Ref:
    if inplace:
        raise NotFusable("silu in place changes a tensor that the caller may hold")
    at = b.number(_tensor(b, input))
    return _launch(b, b.elementwise("mul", at, b.elementwise("sigmoid", at)))


def _gelu(b: CallBuilder, input: Any, approximate: str = "none") -> Ref:
    if approximate != "none":
        raise NotFusable(f"gelu with approximate={approximate!r}")
    at = b.number(_tensor(b, input))
    inner = b.elementwise("erf", b.elementwise("mul", at, b.constant(0.5**0.5)))
    half = b.elementwise("mul", at, b.constant(0.5))
    return _launch(b, b.elementwise("mul", half, b.elementwise("add", inner, b.constant(1))))


def _reciprocal(b: CallBuilder, input: Any) -> Ref:
    return _launch(b, b.elementwise("div", b.constant(1), b.number(_tensor(b, input))))


def _square(b: CallBuilder, input: Any) -> Ref:
    return _power(b, input, 2)


def _power(b: CallBuilder, input: Any, exponent: Any) -> Ref:
    at = b.number(_tensor(b, input))
    if exponent == 0.5:
        return _launch(b, b.elementwise("sqrt", at))
    if isinstance(exponent, bool) or exponent not in range(1, _MOST_POWER + 1):
        raise NotFusable(f"a power of {exponent!r}; 0.5 and whole ones from 1 to {_MOST_POWER} are fused")
    result = at
    for bit in f"{int(exponent):b}"[1:]:
        result = b.elementwise("mul", result, result)
        result = b.elementwise("mul", result, at) if bit == "1" else result
    return _launch(b, result)


def _to_number(b: CallBuilder, input: Any) -> Ref:
    return _launch(b, b.number(_tensor(b, input)))


# --- reductions ----------------------------------------------------------------------------------------------------------


def _reduce(b: CallBuilder, op: str, input: Any, dim: Any, keepdim: bool) -> Ref:
    """Reduce over the last dimensions of the row."""
    at = b.number(_tensor(b, input))
    node = b.nodes[at]
    dims = dim if isinstance(dim, (tuple, list)) else (dim,)
    which = sorted(b.row_dimension(Ref(at), one, op) for one in dims)
    if which != list(range(len(node.row) - len(which), len(node.row))) or not which:
        raise NotFusable(f"{op} over dimension {dim!r}; the last ones are fused")
    kept = node.row[: which[0]]
    if 0 in node.row[which[0] :]:
        raise NotFusable(f"{op} of no elements")
    if len(which) > 1:
        size = node.elements // max(1, _product(kept))
        at = b.reshape(at, (*kept, size))
    kind = Kind.POSITION if op in POSITIONS else Kind.NUMBER
    at = b.add(Node(op, (at,), kept, node.varies, kind))
    return Ref(b.reshape(at, kept + (1,) * len(which)) if keepdim else at)


def _product(sizes: tuple[int, ...]) -> int:
    return functools.reduce(operator.mul, sizes, 1)


def _reduction(op: str) -> Handler:
    def handle(b: CallBuilder, input: Any, dim: Any, keepdim: bool = False) -> Ref:
        b.launches += 1
        return _reduce(b, op, input, dim, keepdim)

    return handle


def _mean(b: CallBuilder, input: Any, dim: Any, keepdim: bool = False) -> Ref:
    total = _reduce(b, "sum", input, dim, keepdim)
    size = b.node(_tensor(b, input)).elements // max(1, b.node(total).elements)
    return _launch(b, b.elementwise("div", total.at, b.constant(size)))


def _variance(b: CallBuilder, input: Any, dim: Any = None, unbiased: Any = None, *, correction: Any = None,
              keepdim: bool = False) -> Ref:  # fmt: skip
    if isinstance(unbiased, bool) == (correction is not None) and unbiased is not None:
        raise NotFusable("variance with both unbiased and correction")
    less = correction if correction is not None else 1 if unbiased is None else int(unbiased)
    at = b.number(_tensor(b, input))
    total = _reduce(b, "sum", Ref(at), dim, True)
    size = b.nodes[at].elements // max(1, b.node(total).elements)
    if size <= less:
        raise NotFusable(f"variance of {size} elements")
    apart = b.elementwise("sub", at, b.elementwise("div", total.at, b.constant(size)))
    squares = _reduce(b, "sum", Ref(b.elementwise("mul", apart, apart)), dim, keepdim)
    return _launch(b, b.elementwise("div", squares.at, b.constant(size - less)))


def _deviation(b: CallBuilder, input: Any, *args: Any, **kwargs: Any) -> Ref:
    return Ref(b.elementwise("sqrt", _variance(b, input, *args, **kwargs).at))


def _extreme(op: str, both: str) -> Handler:
    """x.min(dim), which returns values and positions, and torch.min(x, other)."""

    def handle(b: CallBuilder, input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
        if isinstance(dim, Ref) or other is not None:
            return _arithmetic(both)(b, input, dim if other is None else other)
        b.launches += 1
        return _Extreme(_reduce(b, op, input, dim, keepdim), _reduce(b, op.replace("a", "arg", 1), input, dim, keepdim))

    return handle


def _softmax(b: CallBuilder, input: Any, dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> Ref:
    at = b.number(_tensor(b, input))
    node = b.nodes[at]
    if dtype is not None or b.row_dimension(Ref(at), dim, "softmax") != len(node.row) - 1:
        raise NotFusable("softmax over another than the last dimension, or to another type")
    return _launch(b, b.add(replace(node, op="softmax", args=(at,), value=None)))


# --- matrices ------------------------------------------------------------------------------------------------------------


def _linear(b: CallBuilder, input: Any, weight: Any, bias: Any = None) -> Ref:
    x, w = b.number(_tensor(b, input)), b.number(_tensor(b, weight))
    return _launch(b, _add_linear(b, x, w, bias))


def _add_linear(b: CallBuilder, x: int, w: int, bias: Any) -> int:
    rows, weights = b.nodes[x], b.nodes[w]
    if weights.varies or not rows.varies:
        raise NotFusable("a matrix product whose second factor varies from row to row, or whose first does not")
    if len(rows.row) != 1 or len(weights.row) != 2 or rows.row[0] != weights.row[1]:
        raise NotFusable(f"a matrix product of rows {list(rows.row)} and weights {list(weights.row)}")
    args = (x, w) if bias is None else (x, w, _channels(b, bias, weights.row[0]))
    return b.add(Node("linear", args, (weights.row[0],), True))


def _channels(builder: CallBuilder, value: Any, count: int) -> int:
    at = builder.number(_tensor(builder, value))
    node = builder.nodes[at]
    if node.varies or node.row != (count,):
        raise NotFusable(f"a value for each of {count} channels has the shape {list(node.row)} or varies from row to row")
    return at


def _matmul(b: CallBuilder, input: Any, other: Any) -> Ref:
    x, w = b.number(_tensor(b, input)), b.number(_tensor(b, other))
    weights = b.nodes[w]
    if weights.varies or len(weights.row) not in (1, 2):
        raise NotFusable("a matrix product whose second factor varies from row to row or is no matrix")
    if len(weights.row) == 1:
        product = _add_linear(b, x, b.reshape(w, (1, weights.row[0])), None)
        return _launch(b, b.reshape(product, ()))
    turned = b.add(Node("transpose", (w,), weights.row[::-1]))
    return _launch(b, _add_linear(b, x, turned, None))


def _addmm(b: CallBuilder, input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Ref:
    if beta != 1 or alpha != 1:
        raise NotFusable("addmm with alpha or beta")
    return _launch(b, b.elementwise("add", _matmul(b, mat1, mat2).at, b.number(input)))


def _conv2d(b: CallBuilder, input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
            groups: int = 1) -> Ref:  # fmt: skip
    x, w = b.number(_tensor(b, input)), b.number(_tensor(b, weight))
    image, filters = b.nodes[x], b.nodes[w]
    if groups != 1 or isinstance(padding, str):
        raise NotFusable("a convolution in groups, or with its padding named")
    if filters.varies or not image.varies or len(image.row) != 3 or len(filters.row) != 4 or image.row[0] != filters.row[1]:
        raise NotFusable(f"a convolution of images {list(image.row)} with filters {list(filters.row)}")
    steps = tuple(tuple(one) if isinstance(one, (tuple, list)) else (one, one) for one in (stride, padding, dilation))
    size = tuple(
        (image.row[1 + d] + 2 * steps[1][d] - steps[2][d] * (filters.row[2 + d] - 1) - 1) // steps[0][d] + 1 for d in (0, 1)
    )
    if min(size) < 1:
        raise NotFusable("a convolution whose filter is larger than the image")
    args = (x, w) if bias is None else (x, w, _channels(b, bias, filters.row[0]))
    return _launch(b, b.add(Node("conv2d", args, (filters.row[0], *size), True, value=steps)))


def _batch_norm(b: CallBuilder, input: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
                training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Ref:  # fmt: skip
    if training or running_mean is None or running_var is None:
        raise NotFusable("batch_norm in training: its statistics are the batch's, so nothing is folded")
    x = b.number(_tensor(b, input))
    node = b.nodes[x]
    if not node.varies or not node.row:
        raise NotFusable("batch_norm of what has no channels")
    count = node.row[0]
    statistics = (_channels(b, running_mean, count), _channels(b, running_var, count))
    at = b.add(replace(node, op="batch_norm", args=(x, *statistics), value=float(eps)))
    wide = (count,) + (1,) * (len(node.row) - 1)
    at = at if weight is None else b.elementwise("mul", at, b.reshape(_channels(b, weight, count), wide))
    return _launch(b, at if bias is None else b.elementwise("add", at, b.reshape(_channels(b, bias, count), wide)))


# --- views ---------------------------------------------------------------------------------------------------------------


def _unsqueeze(b: CallBuilder, input: Any, dim: Any) -> Ref:
    at = b.row_dimension(_tensor(b, input), dim, "unsqueeze", extra=1)
    row = b.node(input).row
    return Ref(b.reshape(input.at, (*row[:at], 1, *row[at:])))


def _squeeze(b: CallBuilder, input: Any, dim: Any) -> Ref:
    at = b.row_dimension(_tensor(b, input), dim, "squeeze")
    row = b.node(input).row
    return Ref(b.reshape(input.at, row[:at] + row[at + 1 :])) if row[at] == 1 else input


def _flatten(b: CallBuilder, input: Any, start_dim: int = 0, end_dim: int = -1) -> Ref:
    start, end = (b.row_dimension(_tensor(b, input), dim, "flatten") for dim in (start_dim, end_dim))
    row = b.node(input).row
    return Ref(b.reshape(input.at, (*row[:start], _product(row[start : end + 1]), *row[end + 1 :])))


def _transpose(b: CallBuilder, input: Any, dim0: Any = 0, dim1: Any = 1) -> Ref:
    node = b.node(_tensor(b, input))
    if node.varies or len(node.row) != 2 or {dim0 % 2, dim1 % 2} != {0, 1}:
        raise NotFusable("a transposition of what varies from row to row, or is no matrix")
    return Ref(b.add(Node("transpose", (input.at,), node.row[::-1], kind=node.kind)))


def _getattr(b: CallBuilder, value: Any, name: str) -> Any:
    if isinstance(value, _Extreme) and name in ("values", "indices"):
        return getattr(value, name)
    if isinstance(value, Ref) and name == "T":
        return _transpose(b, value)
    raise NotFusable(f"{name} of a tensor is not known while recording")


def _getitem(b: CallBuilder, value: Any, index: Any) -> Any:
    if isinstance(value, _Extreme) and index in (0, 1):
        return (value.values, value.indices)[index]
    return _Indexing(b, _tensor(b, value), index if isinstance(index, tuple) else (index,)).result()


class _Indexing:
    """x[:, None], x[..., 3], x[:, 2:5]: whole slices, new dimensions, and one place or slice in the last dimension."""

    def __init__(self, builder: CallBuilder, ref: Ref, index: tuple[Any, ...]) -> None:
        self._b, self._ref = builder, ref
        rank = builder.full_rank(ref)
        named = sum(one is not None and one is not Ellipsis for one in index)
        if any(isinstance(one, Ref) for one in index) or sum(one is Ellipsis for one in index) > 1 or named > rank:
            raise NotFusable(f"indexing with {index!r}")
        at = next((i for i, one in enumerate(index) if one is Ellipsis), len(index))
        self._index = (*index[:at], *(slice(None),) * (rank - named), *index[at + 1 :])

    def result(self) -> Ref:
        node, row, at = self._b.node(self._ref), [], self._ref.at
        dims = (-1, *node.row) if node.varies else node.row
        for one in self._index:
            if one is None:
                row.append(1)
                continue
            size, dims = dims[0], dims[1:]
            if one == slice(None):
                row.append(size)
            else:
                at = self._narrowed(at, one, size, last=not dims and size >= 0)
                row += [self._b.nodes[at].row[-1]] if isinstance(one, slice) else []
        if node.varies and row[:1] != [-1]:
            raise NotFusable("indexing that moves or cuts the batch")
        return Ref(self._b.reshape(at, tuple(row[int(node.varies) :])))

    def _narrowed(self, at: int, one: Any, size: int, last: bool) -> int:
        if not last or isinstance(one, bool) or not isinstance(one, (int, slice)):
            raise NotFusable(f"indexing with {one!r}; the last dimension can be cut")
        if isinstance(one, int):
            if not -size <= one < size:
                raise NotFusable(f"place {one} of {size}")
            start, length, step = one % size, 1, 1
        else:
            start, stop, step = one.indices(size)
            length = stop - start
        if step != 1 or length < 1:
            raise NotFusable(f"indexing with {one!r}")
        node = self._b.nodes[at]
        return self._b.add(replace(node, op="narrow", args=(at,), row=(*node.row[:-1], length), value=start))


# --- names ---------------------------------------------------------------------------------------------------------------

_HANDLERS: dict[str, Handler] = {
    **{name: _unary(name) for name in ("neg", "abs", "sqrt", "rsqrt", "exp", "expm1", "log", "log1p", "asinh", "tanh",
                                       "sigmoid", "erf")},
    **{name: _arithmetic(name) for name in ("mul", "maximum", "minimum")},
    **{name: _scaled(name) for name in ("add", "sub")},
    **{name: _compare(name) for name in ("lt", "le", "gt", "ge", "eq", "ne")},
    **{name: _reduction(name) for name in REDUCTIONS},
    "truediv": _arithmetic("div"), "div": _arithmetic("div"), "divide": _arithmetic("div"), "true_divide": _arithmetic("div"),
    "multiply": _arithmetic("mul"), "subtract": _scaled("sub"), "absolute": _unary("abs"), "negative": _unary("neg"),
    "arcsinh": _unary("asinh"), "expit": _unary("sigmoid"), "square": _square, "pow": _power, "reciprocal": _reciprocal,
    "clamp": _clamp, "clip": _clamp, "relu": _relu, "leaky_relu": _leaky_relu, "silu": _silu, "gelu": _gelu,
    "isnan": _isnan, "where": _where, "masked_fill": _masked_fill, "float": _to_number,
    "logical_and": _connective("logical_and"), "and_": _connective("logical_and"), "__and__": _connective("logical_and"),
    "logical_or": _connective("logical_or"), "or_": _connective("logical_or"), "__or__": _connective("logical_or"),
    "logical_not": _not, "invert": _not, "__invert__": _not,
    "mean": _mean, "var": _variance, "std": _deviation, "min": _extreme("amin", "minimum"),
    "max": _extreme("amax", "maximum"), "softmax": _softmax,
    "linear": _linear, "matmul": _matmul, "mm": _matmul, "mv": _matmul, "addmm": _addmm, "conv2d": _conv2d,
    "batch_norm": _batch_norm, "unsqueeze": _unsqueeze, "squeeze": _squeeze, "flatten": _flatten, "t": _transpose,
    "transpose": _transpose, "getattr": _getattr, "getitem": _getitem,
}  # fmt: skip
# torch.square and the like are methods, too; these are no methods of a tensor.
_NO_METHODS = {"truediv", "and_", "or_", "invert", "expit", "relu_", "linear", "conv2d", "batch_norm", "getattr", "getitem"}


@functools.cache
def known_methods() -> dict[str, Handler]:
    """Return the handlers of a tensor's methods by name; `x.where(condition, y)` has its arguments turned."""
    methods = {name: handler for name, handler in _HANDLERS.items() if name not in _NO_METHODS}
    return {**methods, "where": lambda b, input, condition, other: _where(b, condition, input, other)}


@functools.cache
def known_calls() -> dict[Any, Handler]:
    """Return the handlers of PyTorch's functions and of Python's operators."""
    import torch
    from torch.nn import functional

    found: dict[Any, Handler] = {getattr: _getattr}
    for name, handler in _HANDLERS.items():
        for place in (operator, torch, functional, torch.special):
            # operator.abs and its like are the built-in functions that a proxy records.
            if callable(target := getattr(place, name, None)) and name not in ("getattr",):
                found[target] = handler
    return found
