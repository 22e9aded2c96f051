"""Which kernels do the work, and that one hears of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import kernels
from kernels import native
from kernels.native import VARIANTS, cpu_variant, library, typed_libraries

ROOT = Path(kernels.__file__).parents[1]


def told(name: str, program: str = "print(native.cpu_variant())") -> subprocess.CompletedProcess:
    program = f"import logging; logging.basicConfig(); from kernels import native; {program}"
    environment = os.environ | {"RISKAPP_KERNELS": name}
    return subprocess.run([sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, text=True)


def test_the_best_that_the_processor_has_is_used():
    assert cpu_variant() == told("").stdout.strip() in VARIANTS


@pytest.mark.parametrize("name", ["plain", "reference"])
def test_another_can_be_asked_for_by_name(name):
    assert told(name).stdout.strip() == name


def test_a_name_that_is_none_is_refused():
    assert "leave it out, or set it to reference or one of plain, avx2, avx512" in told("fast").stderr


def test_a_processor_without_it_says_what_it_takes_instead():
    lesser = "native.VARIANTS = ('plain', 'avx2', 'avx512', 'avx1024'); print(native.cpu_variant())"
    done = told("avx1024", lesser)
    assert done.stdout.strip() == cpu_variant()
    assert f"RISKAPP_KERNELS asks for avx1024, which this processor does not have: {cpu_variant()} is in use" in done.stderr


def test_without_a_compiled_library_the_references_work_and_say_so_once(tmp_path):
    # The package as it is where the install found no compiler: the same files, without the library.
    for path in (ROOT / "kernels").rglob("*.py"):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    program = (
        "import logging; logging.basicConfig(); import numpy as np; from kernels.top_values import top_values; "
        "print([top_values(np.array([[1, 3, 2]], np.float32), 2)[0].tolist() for _ in range(3)][0])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], env=os.environ | {"PYTHONPATH": str(tmp_path)}, cwd=tmp_path,
                          capture_output=True, text=True)  # fmt: skip
    assert done.stdout.strip() == "[[1, 2]]", done.stderr
    assert done.stderr.count("no compiled kernels were found") == 1
    assert "Install a C compiler" in done.stderr


def test_the_library_is_loaded_once():
    assert library() is library()


def test_a_library_of_other_sources_is_refused(monkeypatch):
    monkeypatch.setattr("kernels.native_tables.layout_sizes", lambda: [8])
    library.cache_clear()
    try:
        with pytest.raises(RuntimeError, match=r"was built from other sources: run 'pip install -e .' again"):
            library()
    finally:
        monkeypatch.undo()
        library.cache_clear()


def test_a_library_that_lacks_a_function_is_refused(monkeypatch):
    monkeypatch.setitem(native._SIGNATURES, "of_a_later_version", [])
    library.cache_clear()
    try:
        with pytest.raises(RuntimeError, match=r"was built from other sources: run 'pip install -e .' again"):
            library()
    finally:
        monkeypatch.undo()
        library.cache_clear()
    with pytest.raises(RuntimeError, match=r"_native.*was built from other sources"):
        typed_libraries({"of_a_later_version": ([], None)})
