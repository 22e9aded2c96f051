"""`python -m tests.benchmarks.accuracy --data FILE`: the published folds, or with --search the choice of hyper-parameters."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

# On a busy machine threads that spin while they wait for each other take the cores that the others need. Read by OpenMP
# when XGBoost is loaded, so it stands before the imports.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from tests.benchmarks.accuracy.protocol import TEST_DATES, ProtocolError, folds
from tests.benchmarks.accuracy.reading import read_payments
from tests.benchmarks.accuracy.recipe import CHOSEN_FILE, read_chosen
from tests.benchmarks.accuracy.report import comparison_table, facts, folds_table, last_line
from tests.benchmarks.accuracy.run import MarginsDiffer, run_benchmark
from tests.benchmarks.accuracy.search import SearchPlan, available_cores, search_and_write


def main() -> int:
    options = _options()
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {text}", file=sys.stderr, flush=True)

    try:
        payments = read_payments(options.data)
        if options.search:
            print(search_and_write(payments, SearchPlan(options.trials, options.finalists, options.boosters, options.jobs), say))
            return 0
        chosen = read_chosen(options.recipes)
        result = run_benchmark(payments, folds(payments, TEST_DATES), chosen, threads=available_cores(), say=say)
    except (ProtocolError, MarginsDiffer) as error:
        print(f"bench-accuracy: {error}", file=sys.stderr)
        return 1
    print(f"\n{comparison_table(result)}\n\n{folds_table(result)}\n\n{facts(result)}\n")
    print(last_line(result, time.monotonic() - started))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.accuracy", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Parquet or CSV file in the Handbook's layout")
    parser.add_argument("--recipes", type=Path, default=CHOSEN_FILE, help="JSON file of recipes; default: what the search chose")
    parser.add_argument("--search", action="store_true", help="choose the recipes anew on the validation folds (hours)")
    parser.add_argument("--trials", type=int, default=80, help="random recipes of each kind")
    parser.add_argument("--finalists", type=int, default=4, help="how many of them are tried again with more boosters")
    parser.add_argument("--boosters", type=int, default=3, help="boosters that are averaged into a finalist")
    parser.add_argument("--jobs", type=int, default=available_cores(), help="processes")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
