"""python -m tests.gpu.contract OPERATION PART PARTS: a share of the contract's cases on a real GPU. Prints one JSON object.

Several of these run side by side (see run.py), because compiling the kernels is what takes long.
"""

from __future__ import annotations

import json
import sys

from tests.gpu.cases import cases
from tests.gpu.operations import check


def failures(operation: str, part: int, parts: int) -> dict:
    """Return how many cases ran and what went wrong in which."""
    count, wrong = 0, []
    for group, case in cases():
        if group % parts != part:
            continue
        count += 1
        try:
            check(operation, case, "cuda:0")
        except Exception as error:  # of any kind: all are told at the end
            wrong.append(f"{case.name}: {type(error).__name__}: {error}")
    return {"operation": operation, "cases": count, "failures": wrong}


if __name__ == "__main__":
    print(json.dumps(failures(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
