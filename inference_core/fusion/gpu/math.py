"""What generated Triton calls: functions of elements with the limits of PyTorch's, and how a product of a row is gathered.

Triton's own exp and log are the GPU's; the rest follows from them as in vector_math.h, on every device that Triton knows.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def fuse_maximum(a, b):
    return tl.where(a != a, a, tl.where(a > b, a, b))


@triton.jit
def fuse_minimum(a, b):
    return tl.where(a != a, a, tl.where(a < b, a, b))


@triton.jit
def fuse_exp(x):
    return tl.exp(x)


@triton.jit
def fuse_log(x):
    return tl.log(x)


@triton.jit
def fuse_expm1(x):
    r = tl.where(tl.abs(x) < 0.5, x, 0.0)
    p = 1.9841270e-4
    p = p * r + 1.3888889e-3
    p = p * r + 8.3333333e-3
    p = p * r + 4.1666667e-2
    p = p * r + 1.6666667e-1
    p = p * r + 0.5
    p = p * (r * r) + r
    return tl.where(tl.abs(x) < 0.5, p, tl.exp(x) - 1.0)


@triton.jit
def fuse_log1p(x):
    u = 1.0 + x
    lost = ((u - 1.0) - x) / u
    result = tl.log(u) - tl.where(lost == lost, lost, 0.0)
    return tl.where(u == 1.0, x, result)


@triton.jit
def fuse_asinh(x):
    a = tl.abs(x)
    z = x * x
    p = 2.0122003309e-2 * z - 4.2699340972e-2
    p = p * z + 7.4847586088e-2
    p = p * z - 1.6666288134e-1
    p = p * z * x + x
    of = tl.where(a < 1e9, a + tl.sqrt_rn(z + 1.0), a)
    far = tl.log(of) + tl.where(a < 1e9, 0.0, 0.693147181)
    return tl.where(a < 0.5, p, tl.where(x < 0.0, -far, far))


@triton.jit
def fuse_tanh(x):
    a = tl.abs(x)
    z = x * x
    p = -5.70498872745e-3 * z + 2.06390887954e-2
    p = p * z - 5.37397155531e-2
    p = p * z + 1.33314422036e-1
    p = p * z - 3.33332819422e-1
    p = p * z * x + x
    large = 1.0 - 2.0 / (tl.exp(a + a) + 1.0)
    return tl.where(a < 0.625, p, tl.where(x < 0.0, -large, large))


@triton.jit
def fuse_sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def fuse_erf(x):
    return tl.erf(x)


@triton.jit
def multiply(a, b):
    return a * b
