"""python -m tests.gpu.check_interpreted: the contract's small cases in Triton's interpreter, on the CPU.

Prints one JSON object: operation -> what went wrong, case by case (empty lists are what a sound kernel gives).
"""

from __future__ import annotations

import json

from tests.gpu.interpreter import mend_interpreter

mend_interpreter()

from tests.gpu.cases import cases  # noqa: E402
from tests.gpu.operations import check, operation_names  # noqa: E402


def failures() -> dict[str, list[str]]:
    """Return each operation's failures; a crash counts as one."""
    found: dict[str, list[str]] = {name: [] for name in operation_names()}
    for _, case in cases(small=True):
        for name, wrong in found.items():
            try:
                check(name, case, "cpu")
            except Exception as error:  # of any kind: all are told at the end
                wrong.append(f"{case.name}: {type(error).__name__}: {error}")
    return found


if __name__ == "__main__":
    print(json.dumps(failures()))
