"""`python -m tests.benchmarks.scheduler`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from inference_core.runtime.cost import CostLine
from tests.benchmarks.scheduler import report
from tests.benchmarks.scheduler.run import Options, measure
from tests.benchmarks.side_by_side.driver import Say, drive, parser
from tests.benchmarks.side_by_side.environment import CpuWatch, own_command, stamp

# A probe of the durable path before it was built: 41 us of processor time for a single request, 7.2 us a row in calls of 1,000.
ENGINE_US, ENGINE_ROW_US = 34.0, 7.2


def _options() -> argparse.Namespace:
    found = parser("scheduler", __doc__)
    found.add_argument("--engine-us", type=float, default=ENGINE_US, help="the engine's part of a batch, microseconds")
    found.add_argument("--engine-row-us", type=float, default=ENGINE_ROW_US, help="the engine's part of a row, microseconds")
    found.add_argument("--seeds", type=int, default=10, choices=range(2, 11), help="test seeds of each class")
    found.add_argument("--save-policy", type=Path, metavar="JSON", help="where the trained policy goes")
    return found.parse_args()


def main() -> int:
    """Run the command."""
    options = _options()

    def run(say: Say) -> dict[str, Any]:
        watch = CpuWatch()
        document = measure(Options(CostLine("engine", options.engine_us, options.engine_row_us), options.seeds), say)
        trained = document.pop("trained")
        if options.save_policy:
            options.save_policy.write_text(json.dumps(trained) + "\n")
        return {"environment": stamp(own_command("tests.benchmarks.scheduler")), "other_cores": watch.other_cores(), **document}

    return drive("scheduler", options, report, run, lambda document: not report.summary(document)["worse_than_ect_classes"])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
