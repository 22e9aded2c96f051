"""Random functions of tensors out of everything that is fused, kept to values of moderate size so that rounding stays small.

Needs PyTorch alone: the GPU host draws from here as well.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

INTERPRETED = 60
"""Random functions that Triton's interpreter runs in the suite."""

Step = Callable[[list[torch.Tensor]], torch.Tensor]


@dataclass(frozen=True)
class Generated:
    """Attributes:
    function: of a tensor list given as arguments; returns one tensor or a tuple.
    rows_of: shapes without the batch of the arguments that vary, and whether each is of truths.
    constants: shapes of the others.
    steps: what it does, for a failure's message.
    """

    function: Callable[..., Any]
    rows_of: tuple[tuple[tuple[int, ...], bool], ...]
    constants: tuple[tuple[int, ...], ...]
    steps: tuple[str, ...]

    def arguments(self, rows: int, seed: int, missing: float = 0.0) -> list[torch.Tensor]:
        """Return arguments for a batch; `missing` is the share of NaN in those that vary."""
        generator = torch.Generator().manual_seed(seed)
        made = []
        for row, is_truth in self.rows_of:
            x = torch.randn(rows, *row, generator=generator)
            x[torch.rand(x.shape, generator=generator) < missing] = float("nan")
            made.append(x > 0 if is_truth else x)
        return made + [torch.randn(shape, generator=generator) * 0.5 for shape in self.constants]


class _Writer:
    """Draws steps; `values` holds for each value its shape without the batch, and how many dimensions the batch adds."""

    def __init__(self, seed: int, flat: bool) -> None:
        self._draw = random.Random(seed)
        self._flat = flat
        self._views: set[int] = set()  # of arguments, perhaps: no output may be one
        self.rows_of: list[tuple[tuple[int, ...], bool]] = []
        self.constants: list[tuple[int, ...]] = []
        self.steps: list[Step] = []
        self.names: list[str] = []
        self.rows: list[tuple[int, ...]] = []  # of the values so far: first the arguments that vary, then the steps

    def generated(self) -> Generated:
        widths = self._draw.sample([1, 2, 3, 5, 8, 13, 17, 33, 50], 2)
        for width in widths:
            self._argument((width,), False)
        self._argument((widths[0],), True)
        if not self._flat and self._draw.random() < 0.5:
            self._argument((self._draw.choice([1, 2, 3]), self._draw.choice([4, 5]), self._draw.choice([4, 7])), False)
        arguments = len(self.rows_of)
        numbers = [at for at, (_, is_truth) in enumerate(self.rows_of) if not is_truth]
        self._numbers = numbers
        for _ in range(self._draw.randint(2, 9)):
            self._step()
        if len(self.rows) - 1 in self._views:
            self._unary(len(self.rows) - 1)
        last = len(self.rows) - 1
        others = [at for at in range(arguments, last) if at not in self._views]
        outputs = [last] + ([self._draw.choice(others)] if others and self._draw.random() < 0.4 else [])
        steps, count = tuple(self.steps), arguments

        def function(*args):
            values, constants = list(args[:count]), args[count:]
            for step in steps:
                values.append(step(values, constants))
            return values[outputs[0]] if len(outputs) == 1 else tuple(values[at] for at in outputs)

        return Generated(function, tuple(self.rows_of), tuple(self.constants), tuple(self.names))

    def _argument(self, row: tuple[int, ...], is_truth: bool) -> None:
        self.rows_of.append((row, is_truth))
        self.rows.append(row)

    def _constant(self, shape: tuple[int, ...]) -> int:
        self.constants.append(shape)
        return len(self.constants) - 1

    def _add(self, name: str, row: tuple[int, ...], step: Callable[[list, tuple], torch.Tensor]) -> None:
        self.steps.append(step)
        self.rows.append(row)
        self.names.append(f"{len(self.rows) - 1}: {name} -> {list(row)}")
        self._numbers.append(len(self.rows) - 1)

    def _step(self) -> None:
        at = self._draw.choice(self._numbers[-4:] if self._draw.random() < 0.6 else self._numbers)
        kinds = [self._unary, self._unary, self._binary, self._with_constant, self._choice]
        if self.rows[at]:
            kinds += [self._reduced, self._softmax, self._kept]
        if len(self.rows[at]) == 1:
            kinds += [self._linear, self._narrow]
        if len(self.rows[at]) == 3 and min(self.rows[at][1:]) >= 3:
            kinds += [self._convolution, self._convolution, self._normalised]
        self._draw.choice(kinds)(at)

    def _unary(self, at: int) -> None:
        name, of = self._draw.choice(_UNARY)
        self._add(f"{name}({at})", self.rows[at], lambda v, c: of(v[at]))

    def _binary(self, at: int) -> None:
        rank = len(self.rows[at])
        fitting = [b for b in self._numbers if len(self.rows[b]) == rank and _fits(self.rows[at], self.rows[b])]
        b = self._draw.choice(fitting)
        name, of = self._draw.choice(_BINARY)
        row = tuple(max(one) for one in zip(self.rows[at], self.rows[b], strict=True))
        self._add(f"{name}({at}, {b})", row, lambda v, c: of(v[at], v[b]))

    def _with_constant(self, at: int) -> None:
        row = self.rows[at]
        shape = self._draw.choice([row[d:] for d in range(len(row) + 1)] + [(1, *row[1:])] * bool(row))
        k = self._constant(shape)
        name, of = self._draw.choice(_BINARY)
        turned = self._draw.random() < 0.3
        self._add(f"{name}({at}, constant {list(shape)}{', turned' if turned else ''})", row,
                  (lambda v, c: of(c[k], v[at])) if turned else (lambda v, c: of(v[at], c[k])))  # fmt: skip

    def _choice(self, at: int) -> None:
        truths = next(i for i, (_, is_truth) in enumerate(self.rows_of) if is_truth)
        if self.rows[at] == self.rows[truths]:
            self._add(f"where({at})", self.rows[at], lambda v, c: torch.where(v[truths], v[at], -0.5))
        else:
            self._add(f"clamp({at})", self.rows[at], lambda v, c: torch.clamp(v[at], -1.5, 1.0))

    def _reduced(self, at: int) -> None:
        name, of = self._draw.choice(_REDUCED)
        self._add(f"{name}({at})", self.rows[at][:-1], lambda v, c: of(v[at], False))

    def _kept(self, at: int) -> None:
        name, of = self._draw.choice(_REDUCED)
        self._add(f"{name}({at}, keepdim)", (*self.rows[at][:-1], 1), lambda v, c: of(v[at], True))

    def _softmax(self, at: int) -> None:
        self._add(f"softmax({at})", self.rows[at], lambda v, c: torch.softmax(v[at], -1))

    def _linear(self, at: int) -> None:
        outputs = self._draw.choice([1, 2, 5, 8, 9, 16, 20, 37])
        w, b = self._constant((outputs, *self.rows[at])), self._constant((outputs,))
        bias = self._draw.random() < 0.7
        scale = self.rows[at][0] ** -0.5
        self._add(f"linear({at})", (outputs,), lambda v, c: F.linear(v[at], c[w], c[b] if bias else None) * scale)

    def _narrow(self, at: int) -> None:
        width = self.rows[at][0]
        if self._flat and at >= len(self.rows_of) or width < 2:
            return self._unary(at)
        start = self._draw.randrange(width - 1)
        stop = self._draw.randint(start + 1, width)
        self._views.add(len(self.rows))
        return self._add(f"{at}[:, {start}:{stop}]", (stop - start,), lambda v, c: v[at][:, start:stop])

    def _convolution(self, at: int) -> None:
        channels, height, width = self.rows[at]
        outputs, size = self._draw.choice([1, 3, 4, 6]), self._draw.choice([1, 2, 3])
        stride, padding = self._draw.choice([1, 1, 2]), self._draw.choice([0, 0, 1])
        w, b = self._constant((outputs, channels, size, size)), self._constant((outputs,))
        row = (outputs, *((side + 2 * padding - size) // stride + 1 for side in (height, width)))
        self._add(f"conv2d({at}, {size}, stride {stride}, padding {padding})", row,
                  lambda v, c: F.conv2d(v[at], c[w], c[b], stride=stride, padding=padding) * 0.3)  # fmt: skip

    def _normalised(self, at: int) -> None:
        mean, variance = self._constant((self.rows[at][0],)), self._constant((self.rows[at][0],))
        self._add(f"batch_norm({at})", self.rows[at], lambda v, c: F.batch_norm(v[at], c[mean], c[variance].abs() + 0.5))


def _fits(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all(1 in (x, y) or x == y for x, y in zip(a, b, strict=True))


_UNARY = (
    ("relu", F.relu), ("sigmoid", torch.sigmoid), ("tanh", torch.tanh), ("asinh", torch.asinh), ("abs", torch.abs),
    ("exp", lambda x: torch.exp(torch.clamp(x, -3, 1.0))), ("log", lambda x: torch.log(x.abs() + 0.1)),
    ("log1p", lambda x: torch.log1p(x * x)), ("expm1", lambda x: torch.expm1(torch.tanh(x))), ("gelu", F.gelu), ("silu", F.silu),
    ("rsqrt", lambda x: torch.rsqrt(x * x + 0.5)), ("sqrt", lambda x: (x.abs() + 0.01) ** 0.5), ("neg", lambda x: -x),
    ("leaky_relu", lambda x: F.leaky_relu(x, 0.1)), ("square", lambda x: torch.tanh(x) ** 2), ("affine", lambda x: 1 - 0.5 * x),
    ("erf", torch.erf),
)  # fmt: skip
_BINARY = (
    ("add", lambda a, b: a + b), ("sub", lambda a, b: a - b), ("mul", lambda a, b: torch.tanh(a) * b),
    ("div", lambda a, b: a / (b * b + 0.5)), ("maximum", torch.maximum), ("minimum", torch.minimum),
)  # fmt: skip
_REDUCED = (
    ("mean", lambda x, keep: x.mean(-1, keepdim=keep)), ("sum", lambda x, keep: (0.1 * x).sum(-1, keepdim=keep)),
    ("amax", lambda x, keep: x.amax(-1, keepdim=keep)), ("amin", lambda x, keep: torch.amin(x, -1, keepdim=keep)),
    ("prod", lambda x, keep: torch.prod(1 - 0.5 * torch.sigmoid(x), -1, keepdim=keep)),
    ("std", lambda x, keep: (x - x.mean(-1, keepdim=True)).square().mean(-1, keepdim=keep) ** 0.5),
)  # fmt: skip


def generated(seed: int, flat: bool = False) -> Generated:
    """Return a random function; flat: of rows of one dimension alone, as a Triton program holds them."""
    return _Writer(seed, flat).generated()


def wrong(result: Any, function: Callable[..., Any], arguments: list[torch.Tensor]) -> str | None:
    """Return what is wrong with a result, or None. The truth is float64; eager's own rounding says how hard the function is."""
    eager = function(*arguments)
    exact = function(*(one.double() if one.is_floating_point() else one for one in arguments))
    for got, plain, true in zip(_flat(result), _flat(eager), _flat(exact), strict=True):
        if got.shape != plain.shape or got.dtype != plain.dtype:
            return f"shape or type: {list(got.shape)} {got.dtype}, eager {list(plain.shape)} {plain.dtype}"
        if not torch.equal(got.isnan(), plain.isnan()):
            return "NaN stands elsewhere"
        if not got.numel():
            continue
        scale = float(true.abs().nan_to_num(0, 0, 0).max())
        off = float((got - true).abs().nan_to_num(0).max())
        allowed = 8 * float((plain - true).abs().nan_to_num(0).max()) + 4e-6 * scale
        if not off <= allowed:
            return f"off by {off:.3g} where {allowed:.3g} are allowed; the largest value is {scale:.3g}"
    return None


def _flat(result: Any) -> list[torch.Tensor]:
    return list(result) if isinstance(result, tuple) else [result]
