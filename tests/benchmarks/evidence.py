"""What the stored and the sent form of a decision cost: answers rendered from arrays, feature rows packed and unpacked.

    python -m tests.benchmarks.evidence [--customers N] [--days N]

Rows of the project's own simulator, a program of the built-in rules with a small forest, one thread, CPU time, best of seven.
Prints a table, and a JSON object as the last line.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable

import django
import numpy as np

from scoring.engine import AnswerColumns, AnswerForm, RiskProgram, pack_rows, render_answers, unpack_rows
from scoring.features.state import FeatureState
from scoring.simulator import SimulationConfig
from tests.benchmarks.feature_state import MAX_LATENESS_DAYS, simulated_batches

BATCHES = (1, 10, 100, 1_000)
START_US = 1_772_000_000_000_000


def feature_rows(config: SimulationConfig) -> np.ndarray:
    """Return the rows of the last third of a simulation."""
    state = FeatureState(MAX_LATENESS_DAYS)
    rows = [state.process(batch).x for batch in simulated_batches(state, config)]
    return np.concatenate(rows[-max(len(rows) // 3, 1) :])


def answer_columns(program: RiskProgram, x: np.ndarray) -> AnswerColumns:
    """Return what the program says of the rows, as the writer of answers wants it."""
    n, result = len(x), program.run(x, np.zeros((len(x), len(program.list_names)), bool), 4)
    ids = [b"sim-%08d" % row for row in range(n)]
    count = np.full(n, 12, np.uint32)
    return AnswerColumns(
        decision_ids=b"".join(b"%036d" % row for row in range(n)),
        text=b"".join(ids),
        probability=np.ascontiguousarray(result.probability, np.float64),
        occurred_us=START_US + np.arange(n, dtype=np.int64),
        received_us=START_US + np.arange(n, dtype=np.int64),
        id_starts=np.arange(n, dtype=np.int32) * len(ids[0]),
        id_lengths=np.full(n, len(ids[0]), np.int32),
        score=np.rint(np.nan_to_num(result.probability) * 1_000).astype(np.int32),
        top_features=np.ascontiguousarray(result.top_features),
        top_contributions=np.ascontiguousarray(result.top_contributions),
        top_values=np.take_along_axis(x, np.maximum(result.top_features, 0), axis=1),
        stamps=np.zeros(n, np.uint32),
        queue_us=count,
        features_us=count,
        program_us=count,
        outcome=np.zeros(n, np.uint8),
        rule_codes=np.ascontiguousarray(result.rule_outcomes, np.uint8),
    )


def cpu_us(work: Callable[[], object], repeats: int) -> float:
    """Return microseconds of CPU a call, the best of seven."""
    best = float("inf")
    for _ in range(7):
        started = time.process_time_ns()
        for _ in range(repeats):
            work()
        best = min(best, (time.process_time_ns() - started) / repeats / 1_000)
    return best


def measure(program: RiskProgram, x: np.ndarray) -> dict[str, float]:
    """Return microseconds a call for a batch of these rows, and bytes a row."""
    from scoring.decisions.answer_form import form_json  # models, which want the settings

    columns, form = answer_columns(program, x), AnswerForm.from_json(form_json(program))
    buffer, ends = pack_rows(x)
    rows = [buffer[start:end] for start, end in zip(ends.tolist(), ends[1:].tolist(), strict=False)]
    repeats = max(3_000 // len(x), 3)
    return {
        "rows": len(x),
        "render_us": round(cpu_us(lambda: render_answers(form, columns), repeats), 2),
        "pack_us": round(cpu_us(lambda: pack_rows(x), repeats), 2),
        "unpack_us": round(cpu_us(lambda: unpack_rows(rows, x.shape[1]), repeats), 2),
        "answer_bytes": round(len(render_answers(form, columns).buffer) / len(x)),
        "packed_bytes": round(len(buffer) / len(x)),
    }


def main() -> int:
    options = _options()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "riskapp.settings")
    django.setup()
    config = SimulationConfig(days=options.days, customers=options.customers, merchants=options.customers // 5)
    x = feature_rows(config)
    x = x[np.random.default_rng(1).permutation(len(x))[: max(BATCHES)]]
    from tests.scoring.decisions.programs import risk_program

    program = risk_program()
    found = [measure(program, x[:batch]) for batch in BATCHES if batch <= len(x)]
    print(f"{x.shape[1]} features, {x.shape[1] * 4} bytes a row as float32, {len(program.rules)} rules\n")
    print("| rows a batch | render, us an answer | pack, us a row | unpack, us a row | bytes an answer | bytes a packed row |")
    print("|---|---|---|---|---|---|")
    for of in found:
        times = " | ".join(f"{of[name] / of['rows']:.2f}" for name in ("render_us", "pack_us", "unpack_us"))
        print(f"| {of['rows']:,} | {times} | {of['answer_bytes']:,} | {of['packed_bytes']:,} |")
    print(json.dumps({f"batch{of['rows']}": of for of in found}))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.evidence", description=__doc__)
    parser.add_argument("--customers", type=int, default=1_500)
    parser.add_argument("--days", type=int, default=45, help="simulated days; the rows are those of the last third")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
