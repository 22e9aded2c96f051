"""python -m tests.gpu.run [--out FILE] [--parts ...]: GPU kernels against references, a million rows for flips, then benchmarks.

Needs Python 3.12, PyTorch and Triton with a GPU, and NumPy; nvForest (with CuPy) is the peer where it is installed. No speed
is told of an operation whose contract failed. The last line on standard output is a JSON object with the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# How many processes share an operation's cases: kernels that take long to compile get more.
_PARTS = {
    "score_rows": 6, "path_contributions": 3, "rule_mask": 2, "net_margin": 2, "block_sparse_linear": 5, "block_sparse_conv": 2,
}  # fmt: skip
_SPARSE_FIGURES = (
    "block_sparse_speedup_75", "conv_pruned_speedup", "tflops_per_watt_dense", "tflops_per_watt_sparse",
    "tflops_per_watt_dense_int8", "tflops_per_watt_sparse_int8",
)  # fmt: skip
_FOREST_FIGURES = (
    "u8_rows_per_s", "f32_full_rows_per_s", "nvforest_rows_per_s", "one_row_us", "nvforest_one_row_us", "queue_busy_share",
)  # fmt: skip
_FUSE_FIGURES = "functions", "faster_than_compile", "max_diff"


PARTS = ("forest", "program", "device_time", "sparse", "fuse")


def main() -> int:
    """Run everything; return 0 only if every contract holds and no row flips."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="where the whole result goes, as JSON")
    parser.add_argument("--parts", default=",".join(PARTS), help="benchmarks after the contracts (default: %(default)s)")
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"--parts: there is no {', '.join(unknown)}; choose from {', '.join(PARTS)}")
    reason = _missing()
    if reason:
        print(reason, file=sys.stderr)
        return 2
    start = time.perf_counter()
    contracts = run_contracts()
    _say(f"contracts: {time.perf_counter() - start:.0f} s")
    from tests.gpu.flips import build_cpu_kernels, check_flips

    _say(f"CPU kernels: {build_cpu_kernels()}")
    flips = check_flips("cuda:0", max(1, (os.cpu_count() or 2) - 1))
    _say(f"flips: {flips['rows_that_differ']} ({time.perf_counter() - start:.0f} s)")
    sound = {name: not contract["failures"] for name, contract in contracts.items()}
    result = {"contracts": contracts, "flips": flips, **dict.fromkeys(PARTS)}
    for name in parts:
        # A figure comes from these; of one that is unsound no speed is told.
        if not all(sound[operation] for operation in _RESTS_ON.get(name, ())) or flips["flips_per_million"]:
            _say(f"{name}: not measured, a contract failed or rows flipped")
        else:
            result[name] = _MEASURED[name]()
            _say(f"{name}: ({time.perf_counter() - start:.0f} s)", _TABLES.get(name, json.dumps)(result[name]))
        if arguments.out:  # after each, for a machine that is taken away
            arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(summary(result)))
    return 0 if all(sound.values()) and not flips["flips_per_million"] else 1


def _forest() -> dict:
    from tests.benchmarks.gpu.forest_sizes import benchmark
    from tests.benchmarks.gpu.queued import benchmark as queued

    return {**benchmark(), "queued": queued()}


def _program() -> dict:
    from tests.benchmarks.net_kernels.gpu import gpu_report

    return gpu_report()


def _device_time() -> dict:
    from tests.benchmarks.device_time.gpu import gpu_report

    return gpu_report()


def _sparse() -> dict | None:
    import torch

    if torch.cuda.get_device_capability() < (9, 0):
        return None  # the kernels read through the tensor memory unit
    from tests.benchmarks.sparse.gpu import gpu_report

    return gpu_report()


def _fuse() -> dict:
    from tests.benchmarks.fuse.gpu import gpu_report

    return gpu_report()


def _sparse_table(result: dict | None) -> str:
    from tests.benchmarks.sparse.gpu import table

    return "this GPU has no tensor memory unit" if result is None else table(result)


def _missing() -> str | None:
    try:
        import torch
        import triton  # noqa: F401
    except ImportError as error:
        return f"PyTorch and Triton are needed: {error}"
    return None if torch.cuda.is_available() else "no GPU was found: torch.cuda.is_available() is False"


def run_contracts() -> dict[str, dict]:
    """Return for each operation how many cases ran and what failed; a process that dies is a failure."""
    names = sorted(path.parent.name for path in (ROOT / "kernels").glob("*/gpu_triton.py"))
    running = {(name, part): _start(name, part, _PARTS.get(name, 1)) for name in names for part in range(_PARTS.get(name, 1))}
    contracts = {name: {"cases": 0, "failures": []} for name in names}
    for (name, _), process in running.items():
        output, errors = process.communicate()
        told = json.loads(output.splitlines()[-1]) if process.returncode == 0 else {"cases": 0, "failures": [errors[-2000:]]}
        contracts[name]["cases"] += told["cases"]
        contracts[name]["failures"] += told["failures"]
    for name, contract in contracts.items():
        _say(f"{name}: {contract['cases']} cases, {len(contract['failures'])} failed", *contract["failures"][:3])
    return contracts


def _start(name: str, part: int, parts: int) -> subprocess.Popen:
    command = [sys.executable, "-W", "ignore", "-m", "tests.gpu.contract", name, str(part), str(parts)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def summary(result: dict) -> dict:
    """Return the figures of the last line; None for what was not measured."""
    figures = dict.fromkeys(_FOREST_FIGURES)
    if (forest := result["forest"]) is not None:
        sizes, one = forest["sizes"], forest["one_row"]
        figures["u8_rows_per_s"] = max(round(line["rows"] / line["u8_us"] * 1e6) for line in sizes)
        figures["f32_full_rows_per_s"] = max(round(line["rows"] / line["full_us"] * 1e6) for line in sizes)
        figures["one_row_us"] = round(one["python_function"]["p50_us"], 2)
        all_queued = forest["queued"]["row_queue"]["all_queued"]
        figures["queue_busy_share"] = round(max(line["device_busy_share"] for line in all_queued), 3)
        if one["nvforest_device_to_device"]:
            figures["nvforest_rows_per_s"] = max(round(line["rows"] / line["nvforest"]["us"] * 1e6) for line in sizes)
            figures["nvforest_one_row_us"] = round(one["nvforest_device_to_device"]["us"], 2)
    program = result["program"]
    figures["program_65536_us"] = None if program is None else round(program["program_us"], 1)
    figures["program_65536_explained"] = None if program is None else round(program["explained"], 3)
    saved = [] if result["device_time"] is None else [line["saved_at_least"] for line in result["device_time"]["batches"]]
    figures["device_time_saved_at_least"] = round(min(saved), 3) if saved else None
    for part, names in (("sparse", _SPARSE_FIGURES), ("fuse", _FUSE_FIGURES)):
        figures |= {name: None if result[part] is None else result[part][name] for name in names}
    return {**figures, "flips_per_million": result["flips"]["flips_per_million"]}


def _table(benchmark: dict) -> str:
    lines = ["      rows |    u8 us  share |  full us  share | nvForest us"]
    for of in benchmark["sizes"]:
        peer = f"{of['nvforest']['us']:10.1f}" if of["nvforest"] else "-"
        lines.append(
            f"{of['rows']:10d} | {of['u8_us']:8.1f} {of['u8_floor']['share']:6.1%} | {of['full_us']:8.1f} "
            f"{of['full_floor']['share']:6.1%} | {peer}"
        )
    return "\n".join([f"{benchmark['environment']}", benchmark["peer"], *lines, json.dumps(benchmark["one_row"])])


_MEASURED = {"forest": _forest, "program": _program, "device_time": _device_time, "sparse": _sparse, "fuse": _fuse}
_RESTS_ON = {
    "forest": ("score_rows", "forest_margin"),
    "program": ("score_rows", "net_margin"), "device_time": ("score_rows", "net_margin"),
    "sparse": ("block_sparse_linear", "block_sparse_conv"),
}  # fmt: skip
_TABLES = {"forest": _table, "sparse": _sparse_table}


def _say(*lines: str) -> None:
    print(*lines, sep="\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
