"""python -m tests.gpu.contract OPERATION PART PARTS: a share of the contract's cases on a real GPU. Prints one JSON object.

Several of these run side by side (see run.py), because compiling the kernels is what takes long.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial

from tests.gpu.cases import cases
from tests.gpu.operations import check
from tests.gpu.sparse_cases import OWN_CASES


def failures(operation: str, part: int, parts: int) -> dict:
    """Return how many cases ran and what went wrong in which."""
    count, wrong = 0, []
    for name, run in _checks(operation, part, parts):
        count += 1
        try:
            run()
        except Exception as error:  # of any kind: all are told at the end
            wrong.append(f"{name}: {type(error).__name__}: {error}")
    return {"operation": operation, "cases": count, "failures": wrong}


def _checks(operation: str, part: int, parts: int) -> Iterator[tuple[str, Callable[[], None]]]:
    if operation in OWN_CASES:
        for number, named in enumerate(OWN_CASES[operation]("cuda:0", False)):
            if number % parts == part:
                yield named
        return
    for group, case in cases():
        if group % parts == part:
            yield case.name, partial(check, operation, case, "cuda:0")


if __name__ == "__main__":
    print(json.dumps(failures(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
