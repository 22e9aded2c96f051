"""Rules as generated source: a Python function, which is the honest rival for one event, and C, the ceiling."""

from __future__ import annotations

import ctypes
import importlib.util
import platform
import subprocess
import time
from collections.abc import Callable

import numpy as np

from tests.benchmarks.rules.case import RulesCase, columns_of
from tests.benchmarks.side_by_side.engines import Call, Engine, Way

PYTHON = "generated Python"
GENERATED_C = "generated C (ceiling)"
_WORD = 64
_BLOCK = 1024


def python_function(case: RulesCase) -> Callable[..., list[bool]]:
    """Return a function of the features that gives the truth of each rule; `and` stops at the first false condition."""
    file = case.folder / "generated_rules.py"
    body = ",\n        ".join(case.texts("and"))
    file.write_text(f"def rules({', '.join(case.names)}):\n    return [\n        {body},\n    ]\n")
    spec = importlib.util.spec_from_file_location("generated_rules", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.rules


def open_python(case: RulesCase) -> Engine:
    started = time.perf_counter()
    rules = python_function(case)
    prepare_s = time.perf_counter() - started

    def make(x: np.ndarray) -> Call:
        rows = x.tolist()
        if len(rows) == 1:
            (row,) = rows
            return lambda: [rules(*row)]
        return lambda: [rules(*row) for row in rows]

    way = Way("one function that returns a list of truths, floats made before", make, lambda hits: np.array(hits, bool))
    return Engine(PYTHON, platform.python_version(), {1: (way,)}, prepare_s, most_rows=20_000)


def open_c(case: RulesCase) -> Engine:
    words = -(-len(case.rules) // _WORD)
    source, library = case.folder / "rules.c", case.folder / "rules.so"
    source.write_text("\n".join([_PRELUDE, *(_c_function(case, word) for word in range(words))]))
    flags = ["-O3", "-march=native"] + (["-mprefer-vector-width=512"] if platform.machine() == "x86_64" else [])
    started = time.perf_counter()
    subprocess.run(["gcc", *flags, "-shared", "-fPIC", str(source), "-o", str(library)], check=True, capture_output=True)
    prepare_s = time.perf_counter() - started
    native = ctypes.CDLL(str(library))
    functions = [getattr(native, f"word{word}") for word in range(words)]

    def make(x: np.ndarray) -> Call:
        columns, out = list(columns_of(x, case.names).values()), np.zeros((words, len(x)), np.uint64)
        addresses = (ctypes.c_void_p * len(columns))(*(column.ctypes.data for column in columns))
        calls = [(function, ctypes.c_void_p(out[word].ctypes.data)) for word, function in enumerate(functions)]
        rows = ctypes.c_int64(len(x))

        def call(kept: list[np.ndarray] = columns) -> np.ndarray:  # addresses keep nothing alive
            for function, to in calls:
                function(addresses, rows, to)
            return out

        return call

    from tests.benchmarks.rules.ours import unpacked

    way = Way("gcc -O3 -march=native, columns", make, lambda out: unpacked(out.T, len(case.rules)))
    return Engine(GENERATED_C, "gcc", {1: (way,)}, prepare_s)


_PRELUDE = "#include <stdint.h>"


def _c_function(case: RulesCase, word: int) -> str:
    """Return a function for 64 rules: bits of each row, in blocks whose columns stay in the first-level cache."""
    lines = []
    for bit, rule in enumerate(case.rules[word * _WORD : (word + 1) * _WORD]):
        truth = " & ".join(f"(x[{c.feature}][i] {c.operator} {c.constant!r}f)" for c in rule)
        lines.append(f"      m |= (uint64_t)({truth}) << {bit};")
    return "\n".join([
        f"void word{word}(const float *const *x, int64_t rows, uint64_t *out) {{",
        f"  for (int64_t b = 0; b < rows; b += {_BLOCK}) {{",
        f"    int64_t end = b + {_BLOCK} < rows ? b + {_BLOCK} : rows;",
        "    for (int64_t i = b; i < end; i++) {",
        "      uint64_t m = 0;", *lines, "      out[i] = m;", "    }", "  }", "}",
    ])  # fmt: skip
