"""Forests on the CPU beside other engines: one row (B1) and batches (B2), the same forest in the same run.

`make bench-forest`. Every engine is called at its best: converting, compiling and laying out the input are not timed, and
where there are several ways to call it (thread pools, interfaces) a short trial picks the fastest for each cell. Ours is
the public function kernels.score_rows.score_rows from raw float32 rows, binning included.
"""
