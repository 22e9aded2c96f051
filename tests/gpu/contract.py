"""python -m tests.gpu.contract OPERATION: the contract's cases on a real GPU. Prints one JSON object.

Each operation has a process of its own (see run.py): their kernels are compiled side by side.
"""

from __future__ import annotations

import json
import sys

from tests.gpu.cases import cases
from tests.gpu.operations import check


def failures(operation: str) -> dict:
    """Return how many cases ran and what went wrong in which."""
    count, wrong = 0, []
    for case in cases():
        count += 1
        try:
            check(operation, case, "cuda:0")
        except Exception as error:  # of any kind: all are told at the end
            wrong.append(f"{case.name}: {type(error).__name__}: {error}")
    return {"operation": operation, "cases": count, "failures": wrong}


if __name__ == "__main__":
    print(json.dumps(failures(sys.argv[1])))
