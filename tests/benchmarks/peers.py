"""Installs the peers of tests/benchmarks/peers.txt with the Python that runs this: `python tests/benchmarks/peers.py`.

A peer that does not install does not stop the others: its error is kept in peers.json at the root of the environment,
where the benchmarks read it and name the peer as failed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

LIST = Path(__file__).with_name("peers.txt")
CONSTRAINTS = LIST.parents[2] / "constraints.txt"
FAILED_FILE = "peers.json"


def requirements(text: str) -> list[str]:
    """Return the requirements of a pip requirements file, without comments."""
    lines = (line.split("#", 1)[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def package_of(requirement: str) -> str:
    """Return the name of the package that a requirement asks for."""
    return re.split(r"[=<>!~ \[;]", requirement, maxsplit=1)[0]


def install(wanted: list[str], run=subprocess.run) -> dict[str, str]:
    """Install all, together if that works, else one by one; return the error of each package that did not install."""
    if _pip(wanted, run) is None:
        return {}
    errors = {package_of(one): _pip([one], run) for one in wanted}
    return {package: error for package, error in errors.items() if error is not None}


def failed_installs(environment: Path | None = None) -> dict[str, str]:
    """Return package -> error of what did not install into the environment that runs this."""
    file = (environment or Path(sys.prefix)) / FAILED_FILE
    return json.loads(file.read_text()) if file.exists() else {}


def _pip(wanted: list[str], run) -> str | None:
    """Return None, or the end of what pip said when it failed."""
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input"]
    done = run([*pip, "-c", str(CONSTRAINTS), "-c", str(LIST), *wanted], capture_output=True, text=True)
    if done.returncode == 0:
        return None
    return "\n".join(done.stderr.strip().splitlines()[-5:]) or f"pip ended with {done.returncode}"


def main() -> int:
    failed = install(requirements(LIST.read_text()))
    (Path(sys.prefix) / FAILED_FILE).write_text(json.dumps(failed, indent=2))
    for package, error in failed.items():
        print(f"{package} did not install and will be reported as failed: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
