"""Reads the product's own source, for tests that hold rules about it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("kernels", "inference_core", "scoring", "admin_ui", "riskapp")
ENV_READERS = ("env_str", "env_int", "env_float", "env_bool", "env_path", "env_secret", "env_choice")


def python_files(package: str) -> list[Path]:
    """Return every Python file of a package; fails where there is none, as after a rename."""
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, f"no Python files under {package}/: renamed?"
    return files


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), filename=str(file))


def relative_name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def imported_names(file: Path) -> set[str]:
    """Return the dotted names that a file imports, anywhere in it.

    `from a.b import c` counts as `a.b.c`, whether c is a module or not; `import_module("a.b")` as `a.b`.
    """
    return {name for node in ast.walk(parsed(file)) for name in _names_of(node, file)}


def _names_of(node: ast.AST, file: Path) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = _absolute_base(node, file)
        yield from (f"{base}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and called_name(node).split(".")[-1] in ("import_module", "__import__"):
        argument = node.args[0] if node.args else None
        # A name that is only known when it runs would escape every rule here.
        yield str(argument.value) if isinstance(argument, ast.Constant) else "<computed>"


def _absolute_base(node: ast.ImportFrom, file: Path) -> str:
    if node.level == 0:
        return node.module or ""
    package = file.relative_to(ROOT).parent.parts
    kept = package[: len(package) - (node.level - 1)]
    return ".".join([*kept, *([node.module] if node.module else [])])


def called_name(call: ast.Call) -> str:
    """Return what is called as written, `a.b.c`; empty for what is no plain name."""
    parts: list[str] = []
    target = call.func
    while isinstance(target, ast.Attribute):
        parts.append(target.attr)
        target = target.value
    if not isinstance(target, ast.Name):
        return ""
    return ".".join([target.id, *reversed(parts)])


def declared_settings() -> dict[str, ast.expr | None]:
    """Return every environment variable that riskapp reads -> its default's expression, None where it has none."""
    declared: dict[str, ast.expr | None] = {}
    for file in python_files("riskapp"):
        for node in ast.walk(parsed(file)):
            if isinstance(node, ast.Call) and called_name(node).split(".")[-1] in ENV_READERS:
                declared |= _settings_of(node, file)
    assert declared, "no env_* call under riskapp/: renamed?"
    return declared


def _settings_of(call: ast.Call, file: Path) -> dict[str, ast.expr | None]:
    name = call.args[0] if call.args else None
    place = f"{relative_name(file)}:{call.lineno}"
    assert isinstance(name, ast.Constant), f"{place}: the name of a setting must be written out, so that tests find it"
    default = call.args[1] if len(call.args) > 1 else None
    if called_name(call).endswith("env_secret"):
        return {name.value: None, f"{name.value}_FILE": None}
    return {name.value: default}
