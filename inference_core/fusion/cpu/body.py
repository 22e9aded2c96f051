"""The statements of one loop."""

from __future__ import annotations

from inference_core.fusion.cpu.places import Index
from inference_core.fusion.ir import Kind

_LOCAL = {Kind.NUMBER: "float", Kind.TRUTH: "int", Kind.POSITION: "int32_t"}


class Body:
    """The statements of one loop's body; what is worked out once has a name in it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[tuple[int, Index], str] = {}

    def named(self, kind: Kind, expression: str) -> str:
        """Return the name of a new local variable."""
        name = f"t{len(self.lines)}"
        self.lines.append(f"const {_LOCAL[kind]} {name} = {expression};")
        return name
