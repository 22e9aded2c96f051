"""Ids that sort by time; the contract is that of `kernels.ordered_ids`."""

from kernels.ordered_ids import ID_BYTES, RANDOM_BYTES, ordered_ids

__all__ = ["ID_BYTES", "RANDOM_BYTES", "ordered_ids"]
