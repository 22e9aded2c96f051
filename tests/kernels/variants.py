"""Every instruction set of this processor in turn, so that each kernel meets each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kernels.native import VARIANTS, library


@contextmanager
def instruction_set(name: str) -> Iterator[None]:
    """Run the body with the C kernels of that name; skip where the processor does not have it."""
    native = library()
    assert native is not None, "the C kernels were not built: python setup.py build_ext --inplace"
    usual = native.kernels_variant()
    try:
        if native.kernels_choose_variant(VARIANTS.index(name)) != VARIANTS.index(name):
            pytest.skip(f"this processor has no {name}")
        yield
    finally:
        native.kernels_choose_variant(usual)


each_instruction_set = pytest.mark.parametrize("instructions", VARIANTS)
