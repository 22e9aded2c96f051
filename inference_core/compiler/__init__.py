"""From schema, typed rules and forest to the tables that the kernels read: IR, passes, plan."""

from inference_core.compiler.compile import compile_program
from inference_core.compiler.plan import Plan

__all__ = ["Plan", "compile_program"]
