"""The import rules of docs/architecture.md, and what product code never does."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.product_source import PACKAGES, ROOT, called_name, imported_names, parsed, python_files, relative_name

WEB = {"django", "rest_framework", "drf_spectacular", "celery", "redis", "psycopg", "uvicorn"}
# Packages that a package may not import.
FORBIDDEN = {
    "kernels": {"inference_core", "scoring", "admin_ui", "riskapp", *WEB},
    "inference_core": {"scoring", "admin_ui", "riskapp", *WEB},
    "scoring": {"kernels", "admin_ui", "riskapp"},
    "admin_ui": {"kernels", "inference_core", "riskapp"},
}
KERNELS_MAY_IMPORT = {"kernels", "numpy", "torch", "triton", *sys.stdlib_module_names}
ADMIN_UI_MAY_USE = ("scoring.selectors", "scoring.services", "scoring.errors")
# Formats and calls that run code from data.
UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
UNSAFE_CALLS = {"eval", "exec", "builtins.eval", "builtins.exec", "yaml.unsafe_load", "yaml.full_load", "os.system"}
UNSAFE_ARGUMENTS = {("allow_pickle", True), ("weights_only", False), ("shell", True)}
SAFE_YAML_LOADERS = {"SafeLoader", "CSafeLoader", "yaml.SafeLoader", "yaml.CSafeLoader"}
PRODUCT_FILES = [ROOT / "manage.py", *(file for package in PACKAGES for file in python_files(package))]


def importers_of(targets: set[str], package: str) -> list[str]:
    """Return "file imports name" for each import of `targets` (top-level packages) within `package`."""
    return [
        f"{relative_name(file)} imports {name}"
        for file in python_files(package)
        for name in sorted(imported_names(file))
        if name.split(".")[0] in targets
    ]


def unsafe_uses(tree: ast.Module) -> list[str]:
    """Return what a file calls or passes that could run code from data, with line numbers."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = called_name(node)
        if name in UNSAFE_CALLS or (name in ("yaml.load", "yaml.load_all") and not _has_safe_loader(node)):
            found.append(f"line {node.lineno}: {name}")
        for keyword in node.keywords:
            value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            if (keyword.arg, value) in UNSAFE_ARGUMENTS:
                found.append(f"line {node.lineno}: {keyword.arg}={value}")
    return found


def _has_safe_loader(call: ast.Call) -> bool:
    given = [*call.args[1:], *(keyword.value for keyword in call.keywords if keyword.arg == "Loader")]
    return any(ast.unparse(value) in SAFE_YAML_LOADERS for value in given)


@pytest.mark.parametrize("package", FORBIDDEN)
def test_package_imports_only_what_is_below_it(package):
    assert importers_of(FORBIDDEN[package], package) == []


def test_kernels_stand_on_arrays_alone():
    others = {name.split(".")[0] for file in python_files("kernels") for name in imported_names(file)} - KERNELS_MAY_IMPORT
    assert others == set()


def test_scoring_reaches_the_engine_through_one_door():
    importers = {line.split(" ")[0] for line in importers_of({"inference_core"}, "scoring")}
    assert importers == {"scoring/engine.py"}


def test_admin_ui_uses_only_the_reads_writes_and_errors_of_scoring():
    used = {name for file in python_files("admin_ui") for name in imported_names(file) if name.split(".")[0] == "scoring"}
    assert {name for name in used if not any(f"{name}.".startswith(f"{part}.") for part in ADMIN_UI_MAY_USE)} == set()


def test_admin_ui_has_no_models():
    assert not [file for file in python_files("admin_ui") if "models" in file.stem or "migrations" in file.parts]


@pytest.mark.parametrize("file", PRODUCT_FILES, ids=relative_name)
def test_product_code_runs_no_code_from_data(file: Path):
    modules = {name.split(".")[0] for name in imported_names(file)}
    assert modules & UNSAFE_MODULES == set()
    assert unsafe_uses(parsed(file)) == []


def test_names_of_imported_modules_are_written_out():
    assert [relative_name(file) for file in PRODUCT_FILES if "<computed>" in imported_names(file)] == []


@pytest.mark.parametrize("package", ["inference_core", "scoring", "admin_ui"])
def test_environment_is_read_by_the_settings_alone(package):
    """A value reaches these packages as a setting or an argument; a child process gets its environment from riskapp."""
    readers = [
        f"{relative_name(file)}:{node.lineno}"
        for file in python_files(package)
        for node in ast.walk(parsed(file))
        if (isinstance(node, ast.Attribute) and ast.unparse(node) == "os.environ")
        or (isinstance(node, ast.Call) and called_name(node) in ("os.getenv", "getenv"))
    ]
    assert readers == []


def test_importing_the_core_brings_neither_django_nor_torch_nor_a_gpu():
    program = (
        "import json, sys; import kernels, inference_core; "
        "print(json.dumps([m for m in ('django', 'torch', 'triton', 'celery', 'rest_framework') if m in sys.modules]))"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == []


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')",
        "import builtins; builtins.exec('x')",
        "import yaml; yaml.load(f)",
        "import yaml; yaml.load(f, Loader=yaml.Loader)",
        "import numpy as np; np.load(f, allow_pickle=True)",
        "import torch; torch.load(f, weights_only=False)",
        "import subprocess; subprocess.run(c, shell=True)",
    ],
)
def test_unsafe_use_is_found(source):
    assert len(unsafe_uses(ast.parse(source))) == 1


@pytest.mark.parametrize(
    "source", ["model.eval()", "re.compile('x')", "yaml.load(f, Loader=yaml.SafeLoader)", "yaml.safe_load(f)"]
)
def test_safe_use_is_let_through(source):
    assert unsafe_uses(ast.parse(source)) == []


def test_relative_and_late_imports_are_seen(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.product_source.ROOT", tmp_path)
    file = tmp_path / "scoring" / "api" / "views.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "from .. import engine\nfrom . import problems\ndef late():\n    from kernels.bins import cut\n"
        "    importlib.import_module('inference_core.program')\n    importlib.import_module(name)\n"
    )
    seen = {"scoring.engine", "scoring.api.problems", "kernels.bins.cut", "inference_core.program", "<computed>"}
    assert imported_names(file) == seen
