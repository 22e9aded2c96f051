"""One row on the CPU: weights with scattered zeros as a bitmap beside dense float32 and dense int8, one thread.

Dense peers: loops of our own with FMA and VNNI (dense_gemv.c, built here for this very processor), and torch's linear layer in
float32 and with dynamic int8. Each is called from Python as a caller would: some microseconds of a small layer are the call.
`warm` repeats one weight; `cold` goes through copies that together exceed the last cache, as a net does that is larger.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from kernels.bitmap_gemv import BitmapWeight, bitmap_gemv, pack_bitmap

SIZES = (256, 512, 1_024, 2_048, 4_096)
ZEROS = (0.5, 0.75, 0.9, 0.95)
COLD_BYTES = 192 * 2**20
Call = Callable[[], object]


def benchmark(seconds: float = 0.2) -> list[dict]:
    """Return a line for each size and share of zeros; share None for the dense peers. Times in microseconds a row."""
    torch.set_num_threads(1)
    native, lines = _dense_library(), []
    for size in SIZES:
        rng = np.random.default_rng(size)
        weight = (rng.standard_normal((size, size), np.float32) * size**-0.5).astype(np.float32)
        x = rng.standard_normal((1, size), np.float32)
        lines.append({"size": size, "zeros": None, **_dense(native, weight, x, seconds)})
        lines += [{"size": size, "zeros": zeros, **_sparse(weight, zeros, x, seconds)} for zeros in ZEROS]
    return lines


def _dense_library() -> ctypes.PyDLL:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dense.so"
        source = Path(__file__).with_name("dense_gemv.c")
        # Of -ffast-math what lets sums be reordered: linked with the whole of it, the process rounds subnormal numbers to 0.
        reordered = ["-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math"]
        flags = ["-O3", "-march=native", *reordered, "-shared", "-fPIC"]
        subprocess.run(["cc", *flags, str(source), "-o", str(path)], check=True)
        return ctypes.PyDLL(str(path))


def _as_int8(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = (np.abs(weight).max(axis=1) / 127).astype(np.float32)
    return np.round(weight / scale[:, None]).astype(np.int8), scale


def _dense(native: ctypes.PyDLL, weight: np.ndarray, x: np.ndarray, seconds: float) -> dict:
    (whole, scale), size, y = _as_int8(weight), len(weight), np.empty(len(weight), np.float32)
    sums, x8 = whole.sum(axis=1, dtype=np.int32), np.round(x * 40 + 128).clip(0, 255).astype(np.uint8)

    def pointers(*arrays: np.ndarray) -> list[ctypes.c_void_p]:
        return [ctypes.c_void_p(array.ctypes.data) for array in arrays]

    n, out = ctypes.c_int64(size), pointers(y)[0]

    def float_call(of: np.ndarray) -> Call:
        arguments = pointers(of, x)
        return lambda kept=of: native.dense_float32(*arguments, n, n, out)

    def int8_call(of: np.ndarray) -> Call:
        arguments = pointers(of, x8, sums, scale)
        return lambda kept=of: native.dense_int8(*arguments, n, n, out)

    found = {**_both("float32", float_call, weight, np.copy, weight.nbytes, seconds)}
    assert np.abs(y - weight @ x[0]).max() < 1e-3, "the dense peer is wrong"
    found |= _both("int8", int8_call, whole, np.copy, whole.nbytes, seconds)
    rows = torch.from_numpy(x)

    def torch_call(of: np.ndarray) -> Call:
        tensor = torch.from_numpy(of)
        return lambda: torch.nn.functional.linear(rows, tensor)

    with torch.inference_mode():
        found |= _both("torch_float32", torch_call, weight, np.copy, weight.nbytes, seconds)
        found["torch_int8_warm"] = _torch_int8(weight, rows, seconds)
    return found


def _torch_int8(weight: np.ndarray, rows: torch.Tensor, seconds: float) -> float | None:
    """Return torch's dynamically quantised layer, None where this build of torch has none."""
    try:
        layer = torch.nn.Linear(*weight.shape, bias=False)
        layer.weight.data = torch.from_numpy(weight)
        quantised = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(layer), {torch.nn.Linear}, dtype=torch.qint8)
        return _microseconds([lambda: quantised(rows)], seconds)
    except (AttributeError, RuntimeError):
        return None


def _sparse(weight: np.ndarray, zeros: float, x: np.ndarray, seconds: float) -> dict:
    pruned = np.where(np.abs(weight) >= np.quantile(np.abs(weight), zeros), weight, np.float32(0))
    (whole, scale), x8 = _as_int8(pruned), np.round(x * 40).clip(-127, 127).astype(np.int8)
    whole = np.where((pruned != 0) & (whole == 0), np.int8(1), whole)  # as many zeros as in float32
    floats, bytes_ = pack_bitmap(pruned), pack_bitmap(whole)
    found = {"float32_bytes": floats.bytes, "int8_bytes": bytes_.bytes}
    found |= _both("float32", lambda of: lambda: bitmap_gemv(x, of), floats, _copied, floats.bytes, seconds)
    return found | _both("int8", lambda of: lambda: bitmap_gemv(x8, of, scale=scale), bytes_, _copied, bytes_.bytes, seconds)


def _copied(weight: BitmapWeight) -> BitmapWeight:
    return BitmapWeight(weight.inputs, weight.bits.copy(), weight.values.copy())


def _both(name: str, call, weight, copy: Callable, bytes_: int, seconds: float) -> dict:
    """Return warm and cold times; cold only where a few copies are enough."""
    found = {f"{name}_warm": _microseconds([call(weight)], seconds)}
    copies = -(-COLD_BYTES // bytes_)
    if copies <= 256:
        found[f"{name}_cold"] = _microseconds([call(copy(weight)) for _ in range(copies)], seconds)
    return found


def _microseconds(calls: list[Call], seconds: float) -> float:
    """Return the median time of a call in the quietest of five rounds, the calls taking turns."""
    for call in calls:
        call()
    return min(_median(calls, seconds / 5) for _ in range(5)) * 1e6


def _median(calls: list[Call], seconds: float) -> float:
    times, end = [], time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        for call in calls:
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return float(np.median(times))


def table(lines: list[dict]) -> str:
    """Return the lines as text: microseconds, and times as fast as the fastest dense layer of the same type."""
    dense = {line["size"]: line for line in lines if line["zeros"] is None}
    text = []
    for size, line in dense.items():
        peers = ", ".join(f"{name} {us:.1f}" for name, us in line.items() if name not in ("size", "zeros") and us is not None)
        text.append(f"{size} x {size}, dense, us: {peers}")
        for of in (of for of in lines if of["size"] == size and of["zeros"] is not None):
            cells = [
                f"{name} {of[name]:8.1f} ({_best(line, name) / of[name]:.2f} x)"
                for name in ("float32_warm", "float32_cold", "int8_warm", "int8_cold")
                if name in of and _best(line, name)
            ]
            text.append(f"  {of['zeros']:.0%} zeros: " + "  ".join(cells))
    return "\n".join(text)


def _best(dense: dict, name: str) -> float | None:
    return min((dense[of] for of in (name, f"torch_{name}") if dense.get(of) is not None), default=None)
