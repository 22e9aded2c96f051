"""Triton's interpreter, mended for the NumPy in use."""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined, so before any gpu_triton.py is imported

from triton.runtime import interpreter  # noqa: E402


def mend_interpreter() -> None:
    """Let the interpreter of Triton 3.6 read a scalar.

    It holds one as an array of one element and calls int() on it, which NumPy 2.4 refuses.
    """
    patch = interpreter._patch_lang_tensor

    def mended(tensor, scope):
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = mended
