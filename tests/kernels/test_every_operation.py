"""What holds for every operation: the fast path is the reference, only quicker."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import kernels
from kernels.native import library
from tests.kernels.operations import OPERATIONS, inputs, operation_names, run

ROWS = (0, 1, 2, 7, 64, 257)


@pytest.fixture(autouse=True)
def _compiled():
    """Without the compiled library the comparisons below would compare the reference with itself."""
    assert library() is not None, "the C kernels were not built: python setup.py build_ext --inplace"


def test_the_folders_of_operations_are_found():
    assert {"bin_features", "forest_margin", "rule_mask", "path_contributions", "score_rows"} <= set(operation_names())


@pytest.mark.parametrize("name", operation_names())
def test_every_operation_has_a_case_and_a_suite_of_its_own(name):
    assert name in OPERATIONS, f"add kernels/{name} to tests/kernels/operations.py"
    assert (Path(__file__).parent / f"test_{name}.py").is_file()


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("name", operation_names())
def test_fast_path_equals_the_reference(name, rows):
    fast, reference = (run(name, which, inputs(name, rows)) for which in ("fast", "reference"))
    assert len(fast) == len(reference)
    for ours, truth in zip(fast, reference, strict=True):
        assert ours.dtype == truth.dtype and ours.shape == truth.shape
        np.testing.assert_allclose(ours, truth, rtol=OPERATIONS[name].relative, atol=1e-6 * (OPERATIONS[name].relative > 0))


@pytest.mark.parametrize("which", ["fast", "reference"])
@pytest.mark.parametrize("name", operation_names())
def test_inputs_are_left_as_they_were(name, which):
    arrays = inputs(name, 64)
    run(name, which, arrays)
    for before, after in zip(inputs(name, 64), arrays, strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("which", ["fast", "reference"])
@pytest.mark.parametrize("name", operation_names())
def test_same_input_gives_the_same_bits(name, which):
    first, second = (run(name, which, inputs(name, 257)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("name", operation_names())
def test_threads_do_not_disturb_each_other(name):
    expected = [result.tobytes() for result in run(name, "fast", inputs(name, 2_000))]
    differing = []

    def work() -> None:
        for _ in range(10):
            if [result.tobytes() for result in run(name, "fast", inputs(name, 2_000))] != expected:
                differing.append(threading.current_thread().name)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert differing == []


@pytest.mark.parametrize("name", operation_names())
def test_contract_is_written_where_the_operation_is_exported(name):
    tree = ast.parse((Path(kernels.__file__).parent / name / "__init__.py").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    assert functions
    assert all(ast.get_docstring(function) for function in functions), "each public function says what it does"
    written = "".join(ast.get_docstring(node) or "" for node in (tree, *functions))
    assert re.search(r"\b(float|u?int)(8|32|64)\b", written) and len(written) > 300, "shapes, types and meaning"


def test_references_take_over_where_they_are_asked_for():
    probe = inspect.cleandoc("""
        from kernels.native import library
        from kernels.velocity_windows import WindowLayout, open_window_store
        assert library() is None
        print(type(open_window_store(WindowLayout(1, (5,), (), 0, 5, 1.0, ((0, 0, 0),)))).__name__)
    """)
    environment = os.environ | {"RISKAPP_KERNELS": "reference"}
    done = subprocess.run(
        [sys.executable, "-c", probe], env=environment, cwd=Path(kernels.__file__).parents[1], capture_output=True, text=True
    )
    assert done.stdout.strip() == "ReferenceWindowStore", done.stderr
