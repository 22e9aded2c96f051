"""Tree tiling: trees of equal depth become neighbours, so that a kernel walks a tile of them in lockstep."""

from __future__ import annotations

from dataclasses import replace

from inference_core.compiler.draft import Draft


def run(draft: Draft) -> tuple[Draft, str]:
    """Return the draft with its trees ordered by depth; sums of leaves do not depend on the order."""
    if draft.ir.trees is None:
        return draft, "tree_tiling: no trees"
    trees = tuple(sorted(draft.ir.trees, key=lambda tree: tree.depth))
    depths = sorted({tree.depth for tree in trees})
    return replace(draft, ir=replace(draft.ir, trees=trees)), f"tree_tiling: {len(trees)} trees of depths {depths}"
