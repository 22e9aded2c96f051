"""The documents say what the program does: settings, make targets and links."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.product_source import ROOT, declared_settings

SETTINGS_PAGE = ROOT / "docs" / "settings.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")])
# Inline code and fenced blocks, where a command stands.
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
MAKE_COMMAND = re.compile(r"(?:^|[`\s;&$])make ([a-z][a-z0-9-]*)", re.MULTILINE)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s#]+)[^)]*\)")


def documented_settings() -> dict[str, dict[str, str]]:
    """Return setting -> column (lower case) -> cell, from every table of the page whose first column is `Setting`."""
    rows: dict[str, dict[str, str]] = {}
    columns: list[str] = []
    for line in SETTINGS_PAGE.read_text().splitlines():
        # A bar inside a cell is written "\|".
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
        if not cells:
            columns = []
        elif not columns:
            columns = [cell.lower() for cell in cells]
        elif columns[0] == "setting" and (name := re.fullmatch(r"`([A-Z][A-Z0-9_]*)`", cells[0])):
            assert name[1] not in rows, f"{name[1]} is documented twice"
            rows[name[1]] = dict(zip(columns, cells, strict=True))
    return rows


def make_targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text()
    return set(re.findall(r"^([a-z][a-z0-9-]*):(?!=)", makefile, re.MULTILINE))


def make_commands(document: Path) -> set[str]:
    """Return the make targets that a document's code calls."""
    return {target for code in CODE.findall(document.read_text()) for target in MAKE_COMMAND.findall(code)}


def plain(text: str) -> str:
    """Return a default without what only helps the reader: code marks, quotes, digit groups."""
    return re.sub(r"[`\"',_\s]", "", text).lower()


def constant_value(expression: ast.expr | None) -> object:
    """Return the value of a literal default; None for one that is computed, such as a path below DATA_DIR."""
    return expression.value if isinstance(expression, ast.Constant) else None


def test_every_setting_is_documented_and_every_documented_setting_is_read():
    assert documented_settings().keys() == declared_settings().keys()


def test_every_setting_has_a_default_and_a_unit():
    incomplete = [name for name, row in documented_settings().items() if not (row["default"] and row["unit"] and row["meaning"])]
    assert incomplete == []


def test_documented_defaults_are_those_of_the_code():
    rows = documented_settings()
    constants = {name: value for name, default in declared_settings().items() if (value := constant_value(default)) is not None}
    assert constants, "no setting with a literal default"
    wrong = {
        name: f"documented {rows[name]['default']}, in the code {value!r}"
        for name, value in constants.items()
        if not same_value(rows[name]["default"], value)
    }
    assert wrong == {}


def same_value(documented: str, value: object) -> bool:
    text = plain(documented)
    if value == "":
        return text in ("", "empty", "none")
    if isinstance(value, bool):
        return text in (("true", "on", "yes", "1") if value else ("false", "off", "no", "0"))
    if isinstance(value, (int, float)):
        number = re.match(r"-?\d+(\.\d+)?", text)
        return number is not None and float(number[0]) == value
    return text == plain(str(value))


@pytest.mark.parametrize("command", ["demo", "test"])
def test_readme_starts_with_the_two_commands(command):
    assert command in make_commands(ROOT / "README.md")
    assert command in make_targets()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_document_names_only_targets_and_files_that_exist(document):
    assert make_commands(document) - make_targets() == set()
    links = [link for link in LINK.findall(document.read_text()) if "://" not in link and not link.startswith("mailto:")]
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_documents_are_found():
    names = {document.relative_to(ROOT).as_posix() for document in DOCUMENTS}
    assert {"README.md", "CHANGELOG.md", "docs/architecture.md", "docs/settings.md", "docs/benchmarks.md"} <= names


def test_help_of_make_names_every_target_that_a_user_calls():
    recipe = (ROOT / "Makefile").read_text().split("help:\n")[1].split("\n\n")[0]
    assert set(re.findall(r"'make ([a-z-]+)", recipe)) == make_targets() - {"help", "browser"}


@pytest.mark.parametrize(
    ("documented", "value", "same"),
    [("`65,536`", 65536, True), ("65536", 65537, False), ("off", False, True), ("`on`", False, False), ("86400.0", 86400, True)],
)
def test_defaults_are_compared_by_value(documented, value, same):
    assert same_value(documented, value) is same


def test_make_in_prose_is_no_command(tmp_path):
    document = tmp_path / "page.md"
    document.write_text("We make sure. Run `make demo`:\n\n```\nMINUTES=1 make test\n$ make lint\n```\n")
    assert make_commands(document) == {"demo", "test", "lint"}
