"""python -m tests.gpu.check_interpreted: the contract's small cases in Triton's interpreter, on the CPU.

Prints one JSON object: operation -> what went wrong, case by case (empty lists are what a sound kernel gives).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

from tests.gpu.interpreter import mend_interpreter

mend_interpreter()

from tests.gpu.cases import cases  # noqa: E402
from tests.gpu.operations import check, operation_names  # noqa: E402
from tests.gpu.sparse_cases import OWN_CASES  # noqa: E402


def failures() -> dict[str, list[str]]:
    """Return each operation's failures; a crash counts as one."""
    found: dict[str, list[str]] = {name: [] for name in operation_names()}
    for _, case in cases(small=True):
        for name in found.keys() - OWN_CASES.keys():
            _try(found[name], case.name, partial(check, name, case, "cpu"))
    for name, own in OWN_CASES.items():
        for what, run in own("cpu", True):
            _try(found[name], what, run)
    return found


def _try(wrong: list[str], name: str, run: Callable[[], None]) -> None:
    try:
        run()
    except Exception as error:  # of any kind: all are told at the end
        wrong.append(f"{name}: {type(error).__name__}: {error}")


if __name__ == "__main__":
    print(json.dumps(failures()))
