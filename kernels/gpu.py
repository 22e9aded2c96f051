"""Tables of a program as tensors of a device, for the kernels in gpu_triton.py and gpu_cuda.py.

    tables = upload(score_tables, "cuda")
    outputs = allocate(tables, rows=4096, top=4)            # fixed buffers, for a CUDA graph
    score_rows(tables, x, None, 4, "row_parallel", outputs) # kernels.score_rows.gpu_triton

Importing this module touches no GPU and needs neither torch nor Triton; `upload` needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kernels.errors import KernelInputError
from kernels.gpu_layouts import RulePlan, complete_trees, reads_before_writes, rule_plan, sparse_nodes
from kernels.net_margin.device import DeviceNet, upload_net
from kernels.score_rows import Layout, ScoredRows, ScoreTables
from kernels.tables import NEVER, CutTable, RuleTable, Source, TreeTable

if TYPE_CHECKING:
    import torch

VARIANTS = ("auto", "tree_parallel", "row_parallel")
# Below this many rows the rows alone do not fill a GPU, and the trees of a row are walked side by side.
TREE_PARALLEL_ROWS = 1024


@dataclass(frozen=True, eq=False)
class DeviceCuts:
    """Attributes:
    cuts, offsets, source: as in CutTable.
    derived: [D, 5] int32: op, a, b, and the bits of a_value and b_value.
    table: the CutTable itself.
    """

    cuts: torch.Tensor
    offsets: torch.Tensor
    source: torch.Tensor
    derived: torch.Tensor
    table: CutTable


@dataclass(frozen=True, eq=False)
class DeviceTrees:
    """Attributes:
    nodes, values: CompleteTrees (kernels.gpu_layouts) where `complete`; else sparse_nodes and the values of the table.
    feature, roots, depth: as in TreeTable, -1 replaced by 0.
    numbers: [2] float64: base, and 2**-scale.
    complete: which of the two layouts it is.
    deepest: steps from a root to the deepest leaf.
    table: the TreeTable itself.
    """

    nodes: torch.Tensor
    values: torch.Tensor
    feature: torch.Tensor
    roots: torch.Tensor
    depth: torch.Tensor
    numbers: torch.Tensor
    complete: bool
    deepest: int
    table: TreeTable


@dataclass(frozen=True, eq=False)
class DeviceRules:
    """Attributes:
    steps: [I, 3] int32: op | source << 2 | negate << 4 | low << 8 | width << 16, operand, store.
    outputs: [3, R] int32 registers of hit, insufficient and error, or -1.
    plan: the same program as segments (RulePlan); plan_* are its arrays on the device.
    table: the RuleTable itself.
    """

    steps: torch.Tensor
    outputs: torch.Tensor
    plan: RulePlan
    plan_predicates: torch.Tensor
    plan_steps: torch.Tensor
    plan_segments: torch.Tensor
    plan_levels: torch.Tensor
    plan_outputs: torch.Tensor
    table: RuleTable


@dataclass(frozen=True, eq=False)
class DeviceTables:
    """All that score_rows reads, on one device; trees is None for rules alone, and net where none stands beside them.

    Attributes:
        cache: what a kernel prepares once and keeps with the tables, by its name.
    """

    cuts: DeviceCuts
    rules: DeviceRules
    trees: DeviceTrees | None
    device: torch.device
    tables: ScoreTables
    net: DeviceNet | None = None
    cache: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Outputs:
    """All are views of `buffer`, which is laid out as ScoredRows' (`layout`): one copy brings everything to the host.

    Attributes:
    margin: [B] float32; NaN without trees.
    hit, insufficient, error: [B, W] int64, the bits of RuleBits' uint64.
    top_features, top_contributions: [B, top] int32 and float32, as top_values gives them.
    scratch: buffers that the Triton kernel writes on the way, by name; may be empty for the CUDA one, which without a net
        needs none.
    """

    margin: torch.Tensor
    hit: torch.Tensor
    insufficient: torch.Tensor
    error: torch.Tensor
    top_features: torch.Tensor
    top_contributions: torch.Tensor
    buffer: torch.Tensor
    layout: Layout
    scratch: dict[str, torch.Tensor]

    def to_host(self) -> ScoredRows:
        """Return the same in the host's memory; waits for the device."""
        return ScoredRows(self.layout, self.buffer.cpu().numpy())


def upload(tables: ScoreTables, device: str | torch.device) -> DeviceTables:
    """Return the tables on a device ("cuda", "cuda:1", or "cpu" for Triton's interpreter)."""
    import torch

    trees = None if tables.trees is None else upload_trees(tables.trees, device)
    net = None if tables.net is None else upload_net(tables.net, device)
    cuts, rules = upload_cuts(tables.cuts, device), upload_rules(tables.rules, device)
    return DeviceTables(cuts, rules, trees, torch.device(device), tables, net)


def upload_cuts(table: CutTable, device: str | torch.device) -> DeviceCuts:
    """Return cuts and derived columns on a device."""
    derived = np.empty((len(table.derived), 5), np.int32)
    for i, name in enumerate(("op", "a", "b", "a_value", "b_value")):
        derived[:, i] = np.ascontiguousarray(table.derived[name]).view(np.int32)
    return DeviceCuts(*_tensors(device, table.cuts, table.offsets, table.source, derived), table)


def upload_trees(table: TreeTable, device: str | torch.device) -> DeviceTrees:
    """Return a forest on a device, in the complete layout where it fits, else sparse."""
    complete = complete_trees(table)
    nodes, values = (complete.nodes, complete.values) if complete else (sparse_nodes(table), table.value)
    numbers = np.array([table.base, 2.0**-table.scale])
    tensors = _tensors(device, nodes, values, np.maximum(table.feature, 0), table.roots, table.depth, numbers)
    deepest = int(table.depth.max(initial=0))
    return DeviceTrees(*tensors, complete is not None, deepest, table)


def upload_rules(table: RuleTable, device: str | torch.device) -> DeviceRules:
    """Return a rule program on a device."""
    s = {name: table.steps[name].astype(np.int32) for name in table.steps.dtype.names}
    word = s["op"] | s["source"] << 2 | (s["negate"] != 0).astype(np.int32) << 4 | s["low"] << 8 | s["width"] << 16
    unwritten = reads_before_writes(table)
    word[unwritten] = (word[unwritten] ^ 1 << 4) & ~(3 << 2) | Source.TRUE << 2  # false: a register begins so
    steps = np.stack([word, s["operand"], s["store"]], axis=1)
    outputs = np.stack([table.hit, table.insufficient, table.error])
    outputs[~np.isin(outputs, s["store"])] = NEVER
    plan = rule_plan(table)
    plan_arrays = plan.predicates, plan.steps, plan.segments, plan.levels, plan.outputs
    return DeviceRules(*_tensors(device, steps, outputs), plan, *_tensors(device, *plan_arrays), table)


def allocate(tables: DeviceTables, rows: int, top: int, scratch: bool = True) -> Outputs:
    """Return output and scratch buffers for batches of exactly `rows` rows; the CUDA kernel needs those of the net alone.

    Raises:
        KernelInputError: top is not from 0 to the width of x.
    """
    import torch

    cuts, rules = tables.tables.cuts, tables.tables.rules
    if not 0 <= top <= cuts.features:
        raise KernelInputError(f"top must be from 0 to {cuts.features}; got {top}")

    def empty(*shape: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device=tables.device)

    layout = whole_layout(rows, rules.words, top)
    buffer = empty(layout.bytes, dtype=torch.uint8)
    buffers = {} if not scratch else {
        "bins": empty(cuts.width, rows, dtype=torch.uint8),
        "derived": empty(len(cuts.derived), rows, dtype=torch.float32),
        "registers": empty(max(rules.registers, tables.rules.plan.slots), rows, dtype=torch.uint8),
        "changes": empty(rows, cuts.features, dtype=torch.int64),
    }  # fmt: skip
    if tables.net is not None:
        from kernels.net_margin.gpu_triton import net_scratch

        derived = empty(len(cuts.derived), rows, dtype=torch.float32)
        of_bins = {"bins": empty(cuts.width, rows, dtype=torch.uint8), "derived": derived}
        buffers = of_bins | buffers | net_scratch(tables.net, rows)
    return Outputs(**result_views(buffer, layout), buffer=buffer, layout=layout, scratch=buffers)


def whole_layout(rows: int, words: int, top: int) -> Layout:
    """Return the layout that has room for every result, also those that a program always answers with zeros or NaN."""
    return Layout(rows=rows, words=words, outputs=(True, True, True), trees=True, top=top)


def result_views(buffer: torch.Tensor, layout: Layout) -> dict[str, torch.Tensor]:
    """Return the results of score_rows by name, as views of a buffer of layout.bytes bytes."""
    import torch

    rows, views, start = layout.rows, {}, 0
    for name, kind, width in (
        ("hit", torch.int64, layout.words), ("insufficient", torch.int64, layout.words), ("error", torch.int64, layout.words),
        ("margin", torch.float32, 1), ("top_features", torch.int32, layout.top), ("top_contributions", torch.float32, layout.top),
    ):  # fmt: skip
        end = start + rows * width * kind.itemsize
        views[name], start = buffer[start:end].view(kind).view(rows, width), end
    return {**views, "margin": views["margin"].view(rows)}


def check_rows(tables: DeviceCuts, x: torch.Tensor, memberships: torch.Tensor | None) -> None:
    """Raise KernelInputError unless x is float32 [B, F] and memberships bool [B, L] or None, all on one device."""
    import torch

    table = tables.table
    if x.dtype != torch.float32 or x.ndim != 2 or x.shape[1] != table.features or x.device != tables.cuts.device:
        raise KernelInputError(
            f"x must be float32 [B, {table.features}] on {tables.cuts.device}; got {x.dtype} {list(x.shape)} on {x.device}"
        )
    shape = (len(x), table.lists)
    if memberships is None:
        return
    if memberships.dtype != torch.bool or memberships.shape != shape or memberships.device != x.device:
        raise KernelInputError(
            f"memberships must be bool {list(shape)} on {x.device}; "
            f"got {memberships.dtype} {list(memberships.shape)} on {memberships.device}"
        )


def check_bins(bins: torch.Tensor, columns: int, device: torch.device) -> None:
    """Raise KernelInputError unless bins is contiguous uint8 [at least `columns`, B] on the device."""
    import torch

    fits = bins.dtype == torch.uint8 and bins.ndim == 2 and bins.shape[0] >= columns and bins.is_contiguous()
    if not fits or bins.device != device:
        found = f"{bins.dtype} {list(bins.shape)} on {bins.device}"
        raise KernelInputError(f"bins must be contiguous uint8 [at least {columns}, B] on {device}; got {found}")


def check_outputs(out: Outputs, rows: int, top: int) -> None:
    """Raise KernelInputError unless the buffers are for this many rows and contributions."""
    if out.margin.shape[0] != rows or out.top_features.shape[1] != top:
        raise KernelInputError(
            f"out must come from allocate(tables, {rows}, {top}); got {out.margin.shape[0]} rows, top {out.top_features.shape[1]}"
        )


def choose_variant(variant: str, rows: int) -> str:
    """Return tree_parallel or row_parallel.

    Raises:
        KernelInputError: there is no such variant.
    """
    if variant not in VARIANTS:
        raise KernelInputError(f"variant must be one of {', '.join(VARIANTS)}; got {variant!r}")
    if variant != "auto":
        return variant
    return "tree_parallel" if rows < TREE_PARALLEL_ROWS else "row_parallel"


def _tensors(device: str | torch.device, *arrays: np.ndarray) -> list[torch.Tensor]:
    import torch

    # Copied: the tables are read-only, and torch has no such thing.
    return [torch.from_numpy(np.array(array, order="C")).to(device) for array in arrays]
