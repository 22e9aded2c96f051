"""The vendored scripts are the published ones."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import admin_ui

FOLDER = Path(admin_ui.__file__).parent / "static" / "admin_ui" / "vendor"


def test_each_vendored_file_has_the_sum_in_the_readme():
    table = dict(re.findall(r"^\| `([\w.]+)`.*`([0-9a-f]{64})` \|$", (FOLDER / "README.md").read_text(), re.M))
    files = {f.name: f for f in FOLDER.iterdir() if f.suffix in (".js", ".css")}
    assert set(table) == set(files) and len(files) == 3
    for name, file in files.items():
        assert hashlib.sha256(file.read_bytes()).hexdigest() == table[name], name


def test_each_licence_is_there():
    assert {f.name for f in FOLDER.glob("*.LICENSE.txt")} == {"htmx.LICENSE.txt", "uplot.LICENSE.txt"}
