"""`python -m tests.benchmarks.net`: the net beside the forest on the Handbook's folds.

    --data FILE                       streams the file, trains the forests, prepares the folds and trains the nets
    --data FILE --prepare FOLDER      stops after preparing (needs XGBoost and the application, no GPU)
    --prepared FOLDER                 trains the nets of prepared folds (needs NumPy and PyTorch alone)

About 35 s of one core a fold and seed on a CPU, and 20 s more for the first seed; with the defaults half an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import torch

from tests.benchmarks.net.kernels import kernel_figures
from tests.benchmarks.net.pool import available_jobs, run_all
from tests.benchmarks.net.recipe import CHOSEN_FILE, read_chosen
from tests.benchmarks.net.report import bytes_table, figures_table, last_line
from tests.benchmarks.net.summary import Runs


def main() -> int:
    options = _options()
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {text}", file=sys.stderr, flush=True)

    recipes = {kind: recipe for kind, recipe in read_chosen(options.recipes).items() if kind in options.kinds.split(",")}
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.prepared or options.prepare or Path(scratch)
        if options.prepared is None:
            # XGBoost and the application are needed for this alone.
            from tests.benchmarks.net.prepare import prepare_all

            prepare_all(options.data, folder, options.folds, recipes, say)
        if options.prepare is not None:
            return 0
        jobs = options.jobs or available_jobs(options.device)
        runs = []
        for run in run_all(folder, recipes, options.seeds, options.device, jobs, say):
            runs.append(run)
            if options.out:
                options.out.write_text(json.dumps([of.to_json() for of in runs], indent=1))
    by_kind = {kind: Runs(runs, kind) for kind in recipes}
    print(f"\n{figures_table(by_kind)}\n\n{bytes_table(by_kind)}\n")
    print(last_line(by_kind, kernel_figures(runs), time.monotonic() - started))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.net", description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="Parquet or CSV file in the Handbook's layout")
    source.add_argument("--prepared", type=Path, help="folder that --prepare wrote")
    parser.add_argument("--prepare", type=Path, help="write prepared folds here and stop")
    parser.add_argument("--folds", choices=("test", "validation"), default="test", help="which folds to prepare (default test)")
    parser.add_argument("--kinds", default="week,history", help="of training (default week,history)")
    parser.add_argument("--recipes", type=Path, default=CHOSEN_FILE, help="default: what was chosen on the validation folds")
    parser.add_argument("--seeds", type=int, default=5, help="nets of each fold (default 5)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--jobs", type=int, help="processes; default one a core, two on a GPU")
    parser.add_argument("--out", type=Path, help="where each run's figures go, as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
