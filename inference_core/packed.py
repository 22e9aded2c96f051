"""Feature rows as they are stored; the contract is that of `kernels.pack_rows`."""

from kernels.pack_rows import pack_rows, unpack_rows

__all__ = ["pack_rows", "unpack_rows"]
