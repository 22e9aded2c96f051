"""Processes that share their features through Redis, against one with its own: `python -m tests.benchmarks.shared_state`."""
