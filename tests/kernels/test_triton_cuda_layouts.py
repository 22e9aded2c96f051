"""The host's side of the CUDA kernel, without a GPU: `make gpu` runs the kernel itself against the references."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from kernels.gpu import upload  # noqa: E402
from kernels.score_rows import gpu_cuda  # noqa: E402
from tests.benchmarks.gpu.forest import random_forest, random_rows, write_xgboost_json  # noqa: E402
from tests.gpu.cases import cut_table, rows_for, score_tables  # noqa: E402


def cuda_layout(**shape):
    return gpu_cuda.cuda_tables(upload(score_tables(np.random.default_rng(0), **shape), "cpu"), 4)


@pytest.mark.parametrize("cuts", [1, 2, 7, 8, 254, 700])
def test_search_tree_of_cuts_finds_the_bin(cuts):
    rng = np.random.default_rng(cuts)
    table = cut_table(rng, 3, cuts, derived=False)
    depth = int(np.diff(table.offsets).max()).bit_length()
    heaps = gpu_cuda._search_trees(table, gpu_cuda._padded(table.columns), depth)
    x = rows_for(rng, table, 300)
    for k in range(table.columns):
        at = np.ones(len(x), int)
        for _ in range(depth):
            at = 2 * at + (heaps[k][at] <= x[:, table.source[k]])
        known = ~np.isnan(x[:, table.source[k]])
        expected = np.searchsorted(table.cuts[table.offsets[k] : table.offsets[k + 1]], x[:, table.source[k]], side="right")
        np.testing.assert_array_equal((at - 2**depth)[known], expected[known])


def test_chunks_of_wide_sums_fit_32_bits_and_cover_all_trees():
    layout = cuda_layout(features=2, cuts=9, depths=[3] * 300, largest=2**28)
    assert layout.wide
    chunks = layout.chunks(44)
    assert chunks[0] == 0 and chunks[-1] == len(layout.bounds) and len(chunks) > 300 // 44 + 1
    for first, last in zip(chunks[:-1], chunks[1:], strict=True):
        assert 0 < last - first <= 44 and first % gpu_cuda.GROUP == 0
        assert layout.bounds[first:last].sum(axis=0).max() + 2**layout.kept <= 2**31
    assert layout.bound >> layout.kept < 2**15  # the second part has 16 bits


def test_leaves_too_large_for_chunks_are_told():
    assert cuda_layout(features=2, cuts=9, depths=[3] * 40, largest=2**30 - 1).chunks(44) is None


def test_narrow_sums_need_no_carry():
    layout = cuda_layout(depths=[4] * 30)
    assert not layout.wide
    assert layout.chunks(8) == [0, 8, 16, 24, 32]  # padded to groups of four


def test_a_device_that_is_not_nvidia_is_refused_with_a_reason():
    assert "NVIDIA" in gpu_cuda.refusal(upload(score_tables(np.random.default_rng(0), depths=[2]), "cpu"), 4)


def test_peer_gets_the_same_forest(tmp_path):
    xgboost = pytest.importorskip("xgboost")
    from kernels.bin_features.reference import bin_features
    from kernels.forest_margin.reference import forest_margin

    forest = random_forest(trees=20, depth=4, missing_left=0.4)
    write_xgboost_json(forest, tmp_path / "forest.json")
    booster = xgboost.Booster(model_file=tmp_path / "forest.json")
    x = random_rows(500, missing=0.05)
    expected = booster.predict(xgboost.DMatrix(x), output_margin=True)
    margins = forest_margin(forest.tables.trees, bin_features(forest.tables.cuts, x))
    np.testing.assert_allclose(margins, expected, rtol=0, atol=2e-6)
    assert np.ptp(expected) > 0.1
