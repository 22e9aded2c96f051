"""nvForest on the same forest: the best of its layouts and chunk sizes at each size."""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path

import torch

from tests.benchmarks.gpu.forest import Forest, write_xgboost_json

LAYOUTS = ("depth_first", "breadth_first", "layered")
CHUNKS = (1, 2, 4, 8, 16, 32)


class Peer:
    """nvForest with a model of each layout on the device."""

    def __init__(self, forest: Forest) -> None:
        """Raises ImportError where nvForest or CuPy is not installed."""
        import cupy
        import nvforest

        self._cupy, self.version = cupy, nvforest.__version__
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the version of treelite, which the packages choose themselves
            path = Path(folder) / "forest.json"
            write_xgboost_json(forest, path)
            self._models = {
                layout: nvforest.load_model(str(path), device="gpu", layout=layout, precision="single") for layout in LAYOUTS
            }

    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        """Return probabilities [B] of rows x."""
        return torch.from_dlpack(self._models["layered"].predict_proba(self._cupy.from_dlpack(x))).reshape(-1)

    def best(self, x: torch.Tensor, seconds: float) -> dict:
        """Return the fastest layout and chunk for rows x with its median time, spending about `seconds` on each."""
        rows = self._cupy.from_dlpack(x)
        results = [
            {"layout": layout, "chunk": chunk, **self._time(model, rows, chunk, seconds)}
            for layout, model in self._models.items() for chunk in CHUNKS
        ]  # fmt: skip
        return min(results, key=lambda result: result["us"])

    def _time(self, model, rows, chunk: int, seconds: float) -> dict:
        synchronize = self._cupy.cuda.Device().synchronize
        times, end = [], time.perf_counter() + seconds
        for _ in range(3):
            model.predict_proba(rows, chunk_size=chunk)
        synchronize()
        while len(times) < 5 or time.perf_counter() < end:
            start = time.perf_counter()
            model.predict_proba(rows, chunk_size=chunk)
            synchronize()
            times.append(time.perf_counter() - start)
        return {"us": sorted(times)[len(times) // 2] * 1e6}
