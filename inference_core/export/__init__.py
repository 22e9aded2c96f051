"""Programs in formats that other runtimes read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inference_core.errors import ProgramError

if TYPE_CHECKING:
    from inference_core.program import RiskProgram


def program_to_onnx(program: RiskProgram, *, reduced: bool = False) -> bytes:
    """Return a program as an ONNX model; see inference_core.export.onnx for its inputs and outputs.

    Args:
        reduced: without the net.

    Raises:
        ProgramError: the package onnx is not installed; or there is nothing to export.
    """
    try:
        from inference_core.export import onnx
    except ModuleNotFoundError as error:
        raise ProgramError(f"an export needs the package {error.name}: pip install 'riskapp[export]'") from None
    return onnx.program_to_onnx(program, reduced=reduced)
