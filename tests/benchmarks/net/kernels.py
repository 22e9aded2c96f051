"""What the kernels make of such a net: the one place where the accuracy benchmark meets those of the kernels.

They are timed on tables of the usual size (50 rules, 200 trees, a net of 8 x 256 x 256), whose activations are zero as often
as those of the nets that were trained here, but not in groups: what training does to whole groups of four is not in it.
"""

from __future__ import annotations

import numpy as np

from tests.benchmarks.net.fold_run import FoldRun
from tests.benchmarks.net_kernels.case import rows, whole_program
from tests.benchmarks.net_kernels.measure import bins_of, one_row, skipping

_ROWS, _ROUNDS = 256, 20


def kernel_figures(runs: list[FoldRun]) -> dict[str, float]:
    """Return, for the last line: what skipping gains for one row, and the median of one row through a whole program."""
    density = 1 - float(np.mean([run.multiplications_skipped for run in runs]))
    tables, x = whole_program(density), rows(_ROWS)
    single = skipping(tables.net, bins_of(tables, x), sizes=(1,), rounds=_ROUNDS)[0]
    return {
        "speedup_activation_b1": single["speedup"],
        "kernel_skipped_b1": single["skipped_share"],
        "program_one_row_us": one_row(tables, x, _ROUNDS)["whole"]["p50_us"],
    }
