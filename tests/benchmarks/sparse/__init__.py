"""Sparse layers beside dense ones: single rows on the CPU, batches and a residual net on the GPU.

    python -m tests.benchmarks.sparse [--seconds S]

Prints the CPU's table, and the GPU's where there is one; the last line is a JSON object.
"""
