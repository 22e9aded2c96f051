"""The net's kernels: one row of a whole program, bytes against floats, skipped activations, and the stages on a GPU."""
