"""How each operation with a gpu_triton.py runs on a case, and what its reference says: the contract of the GPU kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

import kernels
from kernels.bin_features import gpu_triton as bin_gpu
from kernels.bin_features import reference as bin_reference
from kernels.forest_margin import gpu_triton as forest_gpu
from kernels.forest_margin import reference as forest_reference
from kernels.gpu import DeviceTables, Outputs, upload
from kernels.net_margin import gpu_triton as net_gpu
from kernels.net_margin import reference as net_reference
from kernels.path_contributions import gpu_triton as path_gpu
from kernels.path_contributions import reference as path_reference
from kernels.rule_mask import gpu_triton as rule_gpu
from kernels.rule_mask import reference as rule_reference
from kernels.score_rows import gpu_cuda
from kernels.score_rows import gpu_triton as score_gpu
from kernels.score_rows import reference as score_reference
from kernels.tables import RuleBits
from kernels.top_values import gpu_triton as top_gpu
from kernels.top_values import reference as top_reference
from tests.gpu.cases import Case

Arrays = dict[str, np.ndarray]
VARIANTS = ("tree_parallel", "row_parallel")


def operation_names() -> list[str]:
    """Return the folders of kernels/ that hold a Triton kernel, found on disk."""
    return sorted(path.parent.name for path in Path(kernels.__file__).parent.glob("*/gpu_triton.py"))


def check(operation: str, case: Case, device: str) -> None:
    """Raise AssertionError unless all variants of an operation give the reference's bits on a case."""
    tables = upload(case.tables, device)
    bins = bin_reference.bin_features(case.tables.cuts, case.x, case.memberships)
    checks = [OPERATIONS[operation]]
    checks += [CUDA_OPERATIONS[operation]] if device != "cpu" and operation in CUDA_OPERATIONS else []
    for variants in checks:
        for variant, given, expected in variants(case, tables, bins, device):
            compare(f"{operation}, {variant}, {case.name}", given, expected)


def compare(what: str, given: Arrays, expected: Arrays) -> None:
    """Raise AssertionError unless both hold the same bytes under the same names."""
    assert given.keys() == expected.keys(), what
    for name, right in expected.items():
        got = given[name]
        assert (got.dtype, got.shape) == (right.dtype, right.shape), f"{what}: {name} is {got.dtype} {got.shape}"
        a, b = (np.ascontiguousarray(of).view(f"V{of.dtype.itemsize}") for of in (_plain_nan(got), _plain_nan(right)))
        wrong = np.argwhere(a != b)
        assert not len(wrong), (
            f"{what}: {name} differs at {len(wrong)} of {a.size} places, first {wrong[0]}: "
            f"{got[tuple(wrong[0])]!r}, not {right[tuple(wrong[0])]!r}"
        )


def _plain_nan(of: np.ndarray) -> np.ndarray:
    # IEEE 754 leaves the sign and payload of a NaN open.
    return np.where(np.isnan(of), np.float32(np.nan), of) if of.dtype == np.float32 else of


def words(bits: RuleBits) -> Arrays:
    return {"hit": bits.hit, "insufficient": bits.insufficient, "error": bits.error}


def scored(out: Outputs) -> Arrays:
    """Return the outputs of score_rows by name."""
    return scored_by_reference(out.to_host())


def scored_by_reference(result) -> Arrays:
    return {"margin": result.margin, **words(result.bits), "top_features": result.top_features,
            "top_contributions": result.top_contributions}  # fmt: skip


def _on(device: str, array: np.ndarray | None) -> torch.Tensor | None:
    return None if array is None else torch.from_numpy(np.array(array)).to(device)


def _bin_features(case: Case, tables: DeviceTables, bins: np.ndarray, device: str) -> Iterator[tuple[str, Arrays, Arrays]]:
    x, listed = _on(device, case.x), _on(device, case.memberships)
    yield "rows", {"bins": bin_gpu.bin_features(tables.cuts, x, listed).cpu().numpy()}, {"bins": bins}
    columns = x.T.contiguous().T
    yield "columns", {"bins": bin_gpu.bin_features(tables.cuts, columns, listed).cpu().numpy()}, {"bins": bins}


def _forest_margin(case: Case, tables: DeviceTables, bins: np.ndarray, device: str) -> Iterator[tuple[str, Arrays, Arrays]]:
    if tables.trees is not None:
        expected = {"margin": forest_reference.forest_margin(case.tables.trees, bins)}
        for variant in VARIANTS:
            yield variant, {"margin": forest_gpu.forest_margin(tables.trees, _on(device, bins), variant).cpu().numpy()}, expected


def _path_contributions(case: Case, tables: DeviceTables, bins: np.ndarray, device: str) -> Iterator[tuple[str, Arrays, Arrays]]:
    if tables.trees is not None:
        expected = dict(zip(("margin", "contributions"), path_reference.path_contributions(case.tables.trees, bins), strict=True))
        for variant in VARIANTS:
            given = path_gpu.path_contributions(tables.trees, _on(device, bins), variant)
            yield variant, dict(zip(expected, (of.cpu().numpy() for of in given), strict=True)), expected


def _net_margin(case: Case, tables: DeviceTables, bins: np.ndarray, device: str) -> Iterator[tuple[str, Arrays, Arrays]]:
    if tables.net is not None:
        totals = net_reference.net_totals(case.tables.net, bins)
        scratch = net_gpu.net_scratch(tables.net, len(case.x))
        net_gpu.net_into(tables.net, _on(device, bins), scratch)
        given = {name: scratch[name].cpu().numpy() for name in ("totals", "terms")}
        yield "totals and terms", given, {"totals": totals, "terms": case.tables.net.terms(totals)}


def _rule_mask(case: Case, tables: DeviceTables, bins: np.ndarray, device: str) -> Iterator[tuple[str, Arrays, Arrays]]:
    expected = words(rule_reference.rule_mask(case.tables.rules, bins))
    for variant in VARIANTS:
        given = rule_gpu.rule_mask(tables.rules, _on(device, bins), variant)
        host = [of.cpu().numpy().view(np.uint64) for of in (given.hit, given.insufficient, given.error)]
        yield variant, words(RuleBits(*host)), expected


def _top_values(case: Case, tables: DeviceTables, bins: np.ndarray, device: str) -> Iterator[tuple[str, Arrays, Arrays]]:
    if case.top:
        expected = dict(zip(("columns", "values"), top_reference.top_values(case.x, case.top), strict=True))
        given = top_gpu.top_values(_on(device, case.x), case.top)
        yield "rows", dict(zip(expected, (of.cpu().numpy() for of in given), strict=True)), expected


def _cuda_forest_margin(case: Case, tables: DeviceTables, bins: np.ndarray, device: str) -> Iterator[tuple[str, Arrays, Arrays]]:
    if tables.trees is not None and gpu_cuda.refusal(tables, 0) is None:
        expected = {"margin": forest_reference.forest_margin(case.tables.trees, bins)}
        yield "CUDA", {"margin": gpu_cuda.forest_margin(tables, _on(device, bins)).cpu().numpy()}, expected


def _cuda_score_rows(case: Case, tables: DeviceTables, bins: np.ndarray, device: str) -> Iterator[tuple[str, Arrays, Arrays]]:
    if gpu_cuda.refusal(tables, case.top) is not None:
        return
    expected = scored_by_reference(score_reference.score_rows(case.tables, case.x, case.memberships, case.top))
    x, listed = _on(device, case.x), _on(device, case.memberships)
    for variant in VARIANTS:
        yield f"CUDA, {variant}", scored(gpu_cuda.score_rows(tables, x, listed, case.top, variant)), expected
    if len(case.x) and tables.net is None:
        yield "CUDA, row by row", _row_by_row(case, tables), {name: of[:20] for name, of in expected.items()}


def _row_by_row(case: Case, tables: DeviceTables) -> Arrays:
    score = gpu_cuda.OneRow(tables, case.top)
    listed = [None] * len(case.x) if case.memberships is None else case.memberships
    each = [scored_by_reference(score(row, lists)) for row, lists in zip(case.x[:20], listed, strict=False)]
    return {name: np.concatenate([of[name] for of in each]) for name in each[0]}


def _score_rows(case: Case, tables: DeviceTables, bins: np.ndarray, device: str) -> Iterator[tuple[str, Arrays, Arrays]]:
    expected = scored_by_reference(score_reference.score_rows(case.tables, case.x, case.memberships, case.top))
    x, listed = _on(device, case.x), _on(device, case.memberships)
    for variant in VARIANTS:
        yield variant, scored(score_gpu.score_rows(tables, x, listed, case.top, variant)), expected


CUDA_OPERATIONS = {"forest_margin": _cuda_forest_margin, "score_rows": _cuda_score_rows}
OPERATIONS: dict[str, Callable[..., Iterator[tuple[str, Arrays, Arrays]]]] = {
    "bin_features": _bin_features,
    "forest_margin": _forest_margin,
    "net_margin": _net_margin,
    "path_contributions": _path_contributions,
    "rule_mask": _rule_mask,
    "score_rows": _score_rows,
    "top_values": _top_values,
}
