"""Every Triton kernel gives its reference's bits, in Triton's interpreter; `make gpu` says the same of a real GPU."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kernels
from kernels.errors import KernelInputError
from kernels.gpu_layouts import complete_trees, contribution_bounds, rule_plan
from kernels.path_contributions.reference import path_contributions
from kernels.tables import INSTRUCTION, NEVER, Combine, RuleTable, Source
from tests.gpu.cases import rule_table, tree_table

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = sorted(path.parent.name for path in Path(kernels.__file__).parent.glob("*/gpu_triton.py"))
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


@pytest.fixture(scope="module")
def failures() -> dict[str, list[str]]:
    # A process of its own: the interpreter is chosen when a kernel is defined.
    command = [sys.executable, "-W", "ignore", "-m", "tests.gpu.check_interpreted"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


@needs_triton
@pytest.mark.parametrize("operation", OPERATIONS)
def test_kernel_gives_the_bits_of_its_reference(failures, operation):
    assert failures[operation] == []


def test_every_operation_of_the_scoring_pass_has_a_triton_kernel():
    expected = {"bin_features", "forest_margin", "net_margin", "path_contributions", "rule_mask", "score_rows", "top_values"}
    assert expected <= set(OPERATIONS)


@needs_triton
def test_importing_the_gpu_modules_touches_no_gpu():
    modules = ", ".join(["kernels.gpu", *(f"kernels.{name}.gpu_triton" for name in OPERATIONS)])
    program = f"import {modules}; import torch; print(torch.cuda.is_initialized())"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_importing_the_tables_needs_neither_torch_nor_triton():
    program = "import kernels.gpu, sys; print('torch' in sys.modules, 'triton' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("depth", [0, 1, 5, 8])
def test_complete_layout_reaches_the_same_leaves(depth):
    trees = tree_table(np.random.default_rng(depth), 6, 6, [depth] * 7, full=0.7)
    complete = complete_trees(trees)
    bins = np.random.default_rng(1).integers(0, 256, (6, 50)).astype(np.uint8)
    at = np.zeros((50, 7), np.int64)
    for _ in range(complete.depth):
        word = complete.nodes[np.arange(7), at]
        value = bins[word >> 9 & 2047, np.arange(50)[:, None]] + (word >> 8 & 1) & 255
        at = 2 * at + 1 + (value >= (word & 255))
    total = complete.values[np.arange(7), at].sum(axis=1, dtype=np.int64)
    np.testing.assert_array_equal(trees.margin(total), path_contributions(trees, bins)[0])


def test_trees_too_deep_for_the_complete_layout_are_told_apart():
    assert complete_trees(tree_table(np.random.default_rng(0), 3, 3, [9], full=0.5)) is None


def path_sums(trees, node: int, sums: np.ndarray) -> list[np.ndarray]:
    """Return the contributions at each leaf below a node."""
    if trees.column[node] < 0:
        return [sums]
    unit = np.eye(trees.features, dtype=np.int64)[trees.feature[node]]
    children = trees.left[node], trees.left[node] + 1
    changes = [int(trees.value[child]) - int(trees.value[node]) for child in children]
    below = [path_sums(trees, child, sums + change * unit) for child, change in zip(children, changes, strict=True)]
    return below[0] + below[1]


def test_bounds_of_contributions_are_the_largest_of_all_paths():
    trees = tree_table(np.random.default_rng(3), 5, 3, [5, 2, 0, 4], full=0.8)
    expected = [np.abs(path_sums(trees, root, np.zeros(3, np.int64))).max(axis=0) for root in trees.roots]
    np.testing.assert_array_equal(contribution_bounds(complete_trees(trees), 3), expected)


def test_segments_of_a_rule_plan_read_earlier_levels_only():
    plan = rule_plan(rule_table(np.random.default_rng(5), 9, 60))
    assert len(plan.levels) > 2  # the program has registers that others read
    written = set(range(1 + len(plan.predicates)))
    for first, last in zip(plan.levels[:-1], plan.levels[1:], strict=True):
        stored = set()
        for start, count in plan.segments[first:last]:
            own = set()
            for source, store in plan.steps[start : start + count]:
                assert (source & 0xFFFFFF) in written | own
                own |= {store} - {NEVER}
            assert not own & (stored | written)
            stored |= own
        written |= stored
    assert set(plan.outputs.ravel()) <= written


def test_a_register_that_nothing_wrote_is_false():
    steps = np.array([(Combine.SET, Source.REGISTER, 1, 0, 0, 0, 1, 0)], INSTRUCTION)
    plan = rule_plan(RuleTable(steps, 2, np.array([0]), np.array([1]), np.array([NEVER]), 1))
    assert plan.steps[0, 0] & 0xFFFFFF == 0  # slot 0 is false
    assert plan.outputs[:, 0].tolist() == [1, 0, 0]


@needs_triton
def test_wrong_input_is_refused_by_name():
    import torch

    from kernels.forest_margin.gpu_triton import forest_margin
    from kernels.gpu import upload_trees

    trees = upload_trees(tree_table(np.random.default_rng(0), 3, 3, [2]), "cpu")
    with pytest.raises(KernelInputError, match="bins must be contiguous uint8"):
        forest_margin(trees, torch.zeros((2, 5), dtype=torch.uint8))
    with pytest.raises(KernelInputError, match="variant must be one of auto, tree_parallel, row_parallel"):
        forest_margin(trees, torch.zeros((3, 5), dtype=torch.uint8), "fast")


@needs_triton
def test_sparse_layers_refuse_what_does_not_fit():
    import torch

    from kernels.block_sparse_conv import gpu_triton as conv_gpu
    from kernels.block_sparse_conv import pack_conv
    from kernels.block_sparse_linear import gpu_triton as linear_gpu
    from kernels.block_sparse_linear import pack_blocks

    ones = np.ones((64, 64), np.float32)
    for weight, height, width in ((ones, 24, 16), (ones, 8, 16), (ones[:24], 16, 16), (ones.astype(np.int8), 16, 16)):
        with pytest.raises(KernelInputError, match="blocks must be 16 to 256"):
            linear_gpu.upload_blocks(pack_blocks(np.ascontiguousarray(weight), height, width), "cpu")
    blocks, x = linear_gpu.upload_blocks(pack_blocks(ones, 32, 32), "cpu"), torch.zeros((3, 64), dtype=torch.bfloat16)
    for wrong in (x.float(), x[:, :32], x.T.contiguous().T):
        with pytest.raises(KernelInputError, match="x must be contiguous"):
            linear_gpu.block_sparse_linear(wrong, blocks)
    with pytest.raises(KernelInputError, match="bias must be float32"):
        linear_gpu.block_sparse_linear(x, blocks, torch.zeros(63))
    with pytest.raises(KernelInputError, match="int8 needs a scale"):
        linear_gpu.block_sparse_linear(x, blocks, scale=torch.ones(64))
    with pytest.raises(KernelInputError, match="out must be contiguous"):
        linear_gpu.block_sparse_linear(x, blocks, out=x[:2])
    kernel = np.ones((32, 32, 3, 3), np.float32)
    conv = conv_gpu.upload_conv(pack_conv(kernel, 32, 32), (2, 3), "cpu")
    with pytest.raises(KernelInputError, match="whole pictures of 3 x 4 pixels"):
        conv_gpu.block_sparse_conv(torch.zeros((13, 32), dtype=torch.bfloat16), conv)
    with pytest.raises(KernelInputError, match="residual must be"):
        conv_gpu.block_sparse_conv(torch.zeros((12, 32), dtype=torch.bfloat16), conv, residual=torch.zeros((12, 32)))
    with pytest.raises(KernelInputError, match="up to 3 x 3"):
        conv_gpu.upload_conv(pack_conv(np.ones((32, 32, 5, 5), np.float32), 32, 32), (2, 3), "cpu")


@needs_triton
def test_few_rows_share_out_a_strip_and_many_do_not():
    from kernels.block_sparse_linear import gpu_triton, pack_blocks

    weight = gpu_triton.upload_blocks(pack_blocks(np.ones((256, 128), np.float32), 128, 64), "cpu")
    assert gpu_triton.choose_tiling(1, weight).split > 1
    assert gpu_triton.choose_tiling(100_000, weight).split == 1
