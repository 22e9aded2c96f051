"""python -m tests.benchmarks.sparse: see the package."""

from __future__ import annotations

import argparse
import json
import sys

from tests.benchmarks import sparse
from tests.benchmarks.sparse import single_row


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.sparse", description=sparse.__doc__)
    parser.add_argument("--seconds", type=float, default=0.2, help="of measuring for each cell of the CPU's table")
    lines = single_row.benchmark(parser.parse_args().seconds)
    print(single_row.table(lines))
    result = {"single_row": lines, "gpu": _gpu_report()}
    if result["gpu"] is not None:
        from tests.benchmarks.sparse.gpu import table

        print(table(result["gpu"]))
    print(json.dumps(result))
    return 0


def _gpu_report() -> dict | None:
    import torch

    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < (9, 0):
        print("no GPU with a tensor memory unit: the GPU's part is left out", file=sys.stderr)
        return None
    from tests.benchmarks.sparse.gpu import gpu_report

    return gpu_report()


if __name__ == "__main__":
    sys.exit(main())
