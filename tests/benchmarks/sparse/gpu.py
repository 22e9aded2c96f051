"""The GPU's part: `gpu_report` returns every table, and the figures that are told."""

from __future__ import annotations

from tests.benchmarks.sparse import conv_net, linear_sizes


def gpu_report() -> dict:
    """Return block_sparse_speedup_75 (the least of 2,048 and 8,192 rows), conv_pruned_speedup (the first net at 75 % zeros),
    tflops_per_watt_dense and tflops_per_watt_sparse (bfloat16, 75 % zeros), the same two with _int8, and both tables.

    Watts are those of `timing.watts`; TFLOP/s are effective, those of the dense product in the sparse layer's time.
    Needs a GPU with a tensor memory unit. None stands for what the host cannot tell.
    """
    linear, nets = linear_sizes.benchmark(), conv_net.benchmark()
    power = {of["layer"]: of["tflops_per_watt"] for of in linear["power"]}
    return {
        "block_sparse_speedup_75": min(speedup(linear, rows, 0.75) for rows in (2_048, 8_192)),
        "conv_pruned_speedup": nets[0]["pruned"][0]["speedup"],
        "tflops_per_watt_dense": power.get("cuBLAS bfloat16"),
        "tflops_per_watt_sparse": power.get("blocks, 75 % zeros, bfloat16"),
        "tflops_per_watt_dense_int8": power.get("cuBLAS int8"),
        "tflops_per_watt_sparse_int8": power.get("blocks, 75 % zeros, int8"),
        "linear": linear,
        "nets": nets,
    }


def speedup(linear: dict, rows: int, zeros: float, of: str = "us") -> float:
    """Return how many times as fast as cuBLAS in bfloat16 a line is."""
    times = {(line["rows"], line["zeros"]): line for line in linear["lines"]}
    return times[rows, 0.0]["cublas_us"] / times[rows, zeros][of]


def table(report: dict) -> str:
    """Return the tables as text."""
    linear = report["linear"]
    lines = [f"layer {linear['size']:,} x {linear['size']:,}: us, times cuBLAS bfloat16, effective TFLOP/s"]
    lines.append("  rows  zeros |   bf16 128x64                | bf16 64x64  |  int8 128x128               | cuBLAS bf16   int8")
    dense = {line["rows"]: line for line in linear["lines"] if not line["zeros"]}
    for line in linear["lines"]:
        if line["zeros"]:
            lines.append(_line(line, dense[line["rows"]], linear["size"]))
    lines += [f"{of['peer']:22s} {of['rows']:6d} rows {of['zeros']:.0%}: {of['us'] or of['failed']} us" for of in linear["peers"]]
    for of in linear["power"]:
        speed = f"{of['us']:8.1f} us {of['tflops']:6.0f} TFLOP/s {of['tflops_per_watt']:.2f} TFLOPS/W"
        lines.append(f"{of['layer']:30s} {of['watts']:6.0f} W {speed}")
    for net in report["nets"]:
        lines += net_lines(net)
    return "\n".join(lines)


def net_lines(net: dict) -> list[str]:
    lines = [f"{net['net']}, {net['pictures']} pictures, {net['flops'] / 1e12:.1f} TFLOP dense"]
    lines += [f"  {way['way']:45s} {way['us'] or way['failed']} us" for way in net["dense"]]
    for of in net["pruned"]:
        zeros = f"{of['zeros_in_blocks']:.1%} zeros in the blocks, {of['zeros_of_all_weights']:.1%} of all weights"
        difference = f"difference from the dense twin {of['relative_difference_to_dense_twin']:.1e}"
        lines.append(f"  {zeros}: {of['us']:.0f} us, {of['speedup']:.2f} x, {difference}, power {of['power']}")
    return lines


def _line(line: dict, dense: dict, size: int) -> str:
    flops, cublas = 2 * line["rows"] * size * size, dense["cublas_us"]

    def cell(us: float) -> str:
        return f"{us:8.1f} {cublas / us:5.2f} x {flops / us / 1e6:6.0f}"

    int8 = dense["cublas_int8_us"]
    return (
        f"{line['rows']:6d} {line['zeros']:6.0%} | {cell(line['us'])} | {cublas / line['blocks_of_64_us']:5.2f} x | "
        f"{cell(line['int8_us'])} | {cublas:8.1f} {f'{int8:8.1f}' if int8 else '-'}"
    )
