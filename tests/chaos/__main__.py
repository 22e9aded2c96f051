"""`python -m tests.chaos`: a run with many faults. The last line is one JSON object."""

from __future__ import annotations

import argparse
import json
import secrets
import subprocess
import sys
from pathlib import Path

from tests.chaos.stack import POSTGRES, SQLITE
from tests.chaos.supervisor import run_chaos
from tests.chaos.verdict import combined, report


def main() -> int:
    """Return 0 where the verdict is green."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=2000, help="how many faults, of all databases together (2000)")
    parser.add_argument("--seed", type=int, help="repeats the schedule of another run (default: a new one)")
    parser.add_argument("--database", choices=(SQLITE, POSTGRES), help="one database only (default: both, at the same time)")
    parser.add_argument("--clients", type=int, default=6, help="threads that send payments, a database (6)")
    parser.add_argument("--logs", type=Path, help="an existing directory to keep the logs of all processes in")
    options = parser.parse_args()
    if options.faults < 1 or options.clients < 1:
        parser.error("--faults and --clients must be at least 1")
    if options.logs is not None and not options.logs.is_dir():
        parser.error(f"--logs: {options.logs} is not a directory")
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    if options.database is None:
        return _both(options, seed)
    verdict = run_chaos(options.database, options.faults, seed, clients=options.clients, tell=_tell, logs=options.logs)
    print(report(verdict))
    return 0 if verdict.is_green else 1


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _both(options: argparse.Namespace, seed: int) -> int:
    """Run half of the faults on each database: in two processes, which keeps two cores busy while servers start."""
    half = options.faults // 2
    shares = {name: count for name, count in ((SQLITE, half), (POSTGRES, options.faults - half)) if count}
    passed_on = ["--seed", str(seed), "--clients", str(options.clients)]
    passed_on += ["--logs", str(options.logs)] if options.logs else []
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.chaos", "--database", name, "--faults", str(count), *passed_on],
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, count in shares.items()
    ]
    outputs = [process.communicate()[0] for process in running]
    print("\n".join(output.rstrip() for output in outputs))
    try:
        verdicts = [json.loads(output.rstrip().splitlines()[-1]) for output in outputs]
    except (IndexError, ValueError):
        print("RED: a run ended without a verdict", file=sys.stderr)
        return 1
    total = combined(verdicts)
    print(json.dumps(total))
    return 0 if total["verdict"] == "green" else 1


if __name__ == "__main__":
    sys.exit(main())
