"""The passes, one file each: `run(graph)` returns the next graph and one line about what was done."""
