"""`@deepseek_fuse`: one kernel out of a plain function of tensors.

    function -> tracer (torch.fx) -> lower (known_calls) -> ir.Graph -> passes -> cost -> cpu/ or gpu/ -> plan -> decorator

Importing this touches neither PyTorch nor a compiler.
"""

from inference_core.fusion.decorator import FusedFunction, deepseek_fuse

__all__ = ["FusedFunction", "deepseek_fuse"]
