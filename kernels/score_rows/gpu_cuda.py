"""The fused pass in CUDA C++ (gpu_cuda.cu), compiled for the shape of a program when it is first needed.

Faster than Triton on NVIDIA's GPUs, because a thread may index shared memory, and for the programs that fit: complete trees
of depth 8 at most, 256 slots of bins, 1,023 features. `refusal` says why another program does not; it then runs in Triton.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kernels.cuda_module import BoundLaunch, CudaFunction, CudaGraph, compile_source
from kernels.errors import KernelInputError
from kernels.gpu import (
    DeviceTables,
    Outputs,
    allocate,
    check_bins,
    check_outputs,
    check_rows,
    choose_variant,
    result_views,
    whole_layout,
)
from kernels.gpu_layouts import complete_trees, contribution_bounds
from kernels.score_rows import ScoredRows
from kernels.tables import TreeTable

GROUP = 4  # trees that a lane walks at a time
MAX_SLOTS = 256
MAX_FEATURES = 1023
MAX_TOP = 16
MAX_LISTS = 64
FEW_THREADS = 512
MOST_WARPS = 28  # more gain nothing: shared memory is the limit, and chunks become small
GOOD_CHUNK_BYTES = 28_000
_SOURCE = Path(__file__).with_suffix(".cu")
_POINTERS = (
    "row", "x", "listed", "bins", "cuts", "source", "derivations", "shifted", "predicates", "steps", "segments", "levels",
    "outputs", "nodes", "chunks", "rule_block", "values", "margin", "hit", "insufficient", "error", "top_features",
    "top_contributions", "done", "terms",
)  # fmt: skip
_COUNTS = (
    "columns", "lists", "derived", "shifted_count", "predicate_count", "level_count", "rules", "words", "trees", "split",
    "chunk_count", "chunk_trees", "chunk_columns", "chunk_bytes", "bin_bytes", "area_bytes", "bins_at", "area_at",
    "rules_at", "rule_bytes",
    "segments_at", "predicates_at", "levels_at", "outputs_at", "shifted_at",
)  # fmt: skip


class _Program(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in _POINTERS),
        *((name, ctypes.c_int64) for name in ("rows", "root_sum", "centre")),
        ("base", ctypes.c_double), ("step", ctypes.c_double), *((name, ctypes.c_int) for name in _COUNTS),
    ]  # fmt: skip


@dataclass(frozen=True)
class Tiling:
    """How a batch is spread: a block takes 32 rows for each of `groups` groups of `split` warps.

    Attributes:
        blocks: blocks a multiprocessor.
    """

    groups: int
    blocks: int = 1
    split: int = 1


@dataclass(frozen=True, eq=False)
class CudaTables:
    """Tables in the layout of gpu_cuda.cu.

    Attributes:
        tensors: by the name of their field in the kernel's Program.
        counts: likewise.
        depth: of the complete trees, 0 without a forest.
        cut_depth: levels of the search tree of a column's cuts.
        bounds: [T, F] no tree changes a feature's contribution by more.
        slots: bytes of bins a row.
        rule_slots: truths a row.
    """

    tensors: dict[str, torch.Tensor]
    counts: dict[str, int]
    depth: int
    cut_depth: int
    bounds: np.ndarray
    slots: int
    rule_slots: int

    @functools.cached_property
    def bound(self) -> int:
        """No contribution is larger, in fixed point."""
        return int(self.bounds.sum(axis=0).max(initial=0))

    @property
    def wide(self) -> bool:
        """Whether a sum of contributions may need more than 32 bits."""
        return self.bound >= 2**31

    @property
    def kept(self) -> int:
        """How many bits of a wide sum stay in its first part: 15 bits and a sign are for the others."""
        return max(20, (self.bound >> 15).bit_length() + 1)

    def chunks(self, most: int) -> list[int] | None:
        """Return the first trees of chunks of at most `most` trees each that 32 bits can add up, or None if there are none."""
        if not self.wide:
            return [*range(0, len(self.bounds), most), len(self.bounds)]
        starts, room, inside = [0], 2**31 - 2**self.kept, np.zeros(self.bounds.shape[1], np.int64)
        for first in range(0, len(self.bounds), GROUP):
            more = self.bounds[first : first + GROUP].sum(axis=0)
            if (more >= room).any():
                return None
            if first > starts[-1] and ((inside + more >= room).any() or first - starts[-1] >= most):
                starts, inside = [*starts, first], 0 * inside
            inside = inside + more
        return [*starts, len(self.bounds)]


def refusal(tables: DeviceTables, top: int) -> str | None:
    """Return why a program cannot run here, or None if it can."""
    table, trees = tables.tables.cuts, tables.tables.trees
    if tables.device.type != "cuda" or torch.version.cuda is None:
        return "the device is not one of NVIDIA's"
    if table.features > MAX_FEATURES or top > MAX_TOP or table.lists > MAX_LISTS or not table.features:
        return f"more than {MAX_FEATURES} features, {MAX_LISTS} lists or {MAX_TOP} contributions, or no feature"
    if _padded(table.columns) + table.lists + (0 if trees is None else len(_shifted(trees))) > MAX_SLOTS:
        return f"more than {MAX_SLOTS} slots of bins"
    if trees is not None and not tables.trees.complete:
        return "a tree is deeper than 8"
    if trees is not None and (len(trees.roots) * max(tables.trees.deepest, 1) > 32_000 or _largest_change(trees) >= 2**31):
        return "the sums of halves could overflow"
    ready = cuda_tables(tables, top)
    if ready.kept > 28 or ready.chunks(GROUP) is None:
        return "the leaves are so large that 32 bits do not hold the changes of four trees"
    if _fitting(ready, tables, Tiling(1)) is None:
        return "a row needs more shared memory than a multiprocessor has"
    return None


def score_rows(
    tables: DeviceTables, x: torch.Tensor, memberships: torch.Tensor | None = None, top: int = 0, variant: str = "auto",
    out: Outputs | None = None, tiling: Tiling | None = None,
) -> Outputs:  # fmt: skip
    """As kernels.score_rows.gpu_triton.score_rows, and with its bits; x must be contiguous. May be captured in a CUDA graph
    after a first call (which compiles).

    Raises:
        KernelInputError: a shape, type or device does not fit, x is not contiguous, or `refusal` gives a reason.
        CudaUnavailableError: NVRTC or the driver is missing.
    """
    check_rows(tables.cuts, x, memberships)
    if not x.is_contiguous():
        raise KernelInputError("x must be contiguous for the CUDA kernel; call x.contiguous() or use the Triton one")
    rows = len(x)
    out = allocate(tables, rows, top, scratch=False) if out is None else out
    check_outputs(out, rows, top)
    _require(tables, top)
    if not rows:
        return out
    stream = _stream(x.device)
    listed = None if memberships is None else memberships.contiguous()
    if tables.net is not None:
        from kernels.score_rows.gpu_triton import run_net

        run_net(tables, x, listed, out)
    if choose_variant(variant, rows) == "tree_parallel":
        bind_few(tables, x, listed, top, out).run(stream)
    else:
        bind_rows(tables, x, listed, top, out, tiling).run(stream)
    return out


def forest_margin(
    tables: DeviceTables, bins: torch.Tensor, out: torch.Tensor | None = None, tiling: Tiling | None = None
) -> torch.Tensor:
    """As kernels.forest_margin.gpu_triton.forest_margin, row-parallel, into `out` [B] float32 if given.

    For large batches: below some 10,000 rows the Triton kernel's tree-parallel variant answers sooner.

    Raises:
        KernelInputError: bins does not fit, there is no forest, or `refusal` gives a reason.
        CudaUnavailableError: NVRTC or the driver is missing.
    """
    if tables.trees is None:
        raise KernelInputError("the tables hold no forest")
    check_bins(bins, tables.trees.table.columns, tables.cuts.cuts.device)
    _require(tables, 0)
    rows = bins.shape[1]
    margin = torch.empty(rows, dtype=torch.float32, device=bins.device) if out is None else out
    if rows:
        ready = cuda_tables(tables, 0)
        fit = _fit(ready, tables, rows, tiling, from_bins=True)
        program = _program(ready, fit, rows, bins=bins, margin=margin)
        _function("score_rows", tables, ready, 0, fit, FROM_BINS=1, NET=0).bind(*fit.launch, program).run(_stream(bins.device))
    return margin


def _stream(device: torch.device) -> ctypes.c_void_p:
    return ctypes.c_void_p(torch.cuda.current_stream(device).cuda_stream)


def _require(tables: DeviceTables, top: int) -> None:
    key = f"cuda refusal {top}"
    if key not in tables.cache:
        tables.cache[key] = refusal(tables, top)
    if tables.cache[key] is not None:
        raise KernelInputError(f"the CUDA kernel does not take this program: {tables.cache[key]}; use the Triton one")


# --- layouts -----------------------------------------------------------------------------------------------------------


def cuda_tables(tables: DeviceTables, top: int) -> CudaTables:
    """Return the tables in this kernel's layout, made once; without contributions (top 0) leaves stand in for changes."""
    key = f"cuda {'changes' if top else 'leaves'}"
    if key not in tables.cache:
        tables.cache[key] = _build(tables, bool(top))
    return tables.cache[key]


def _build(tables: DeviceTables, contributions: bool) -> CudaTables:
    table, trees, plan = tables.tables.cuts, tables.tables.trees, tables.rules.plan
    padded, shifted = _padded(table.columns), np.zeros(0, np.int32) if trees is None else _shifted(trees)
    cut_depth = int(np.diff(table.offsets).max(initial=0)).bit_length()
    predicates = plan.predicates.copy()
    operand = predicates[:, 0]
    predicates[:, 0] = _slot_offset(np.where(operand < table.columns, operand, operand - table.columns + padded))
    arrays = {
        "cuts": _search_trees(table, padded, cut_depth), "source": np.resize(np.append(table.source, 0), padded)
        if not table.columns else np.concatenate([table.source, np.zeros(padded - table.columns, np.int32)]),
        "shifted": shifted, "predicates": predicates, "steps": plan.steps, "segments": plan.segments, "levels": plan.levels,
        "outputs": plan.outputs,
    }  # fmt: skip
    depth, count, bounds = 0, 0, np.zeros((0, table.features), np.int64)
    if trees is not None:
        depth = max(tables.trees.deepest, 1)
        arrays["nodes"], arrays["values"], bounds = _trees(trees, depth, shifted, padded + table.lists, contributions)
        count = len(arrays["nodes"])
    arrays["rule_block"], places = _rule_block(arrays)
    tensors = {name: torch.from_numpy(np.array(of, order="C")).to(tables.cuts.cuts.device) for name, of in arrays.items()}
    tensors["derivations"] = tables.cuts.derived
    counts = {
        "columns": table.columns, "lists": table.lists, "derived": len(table.derived), "shifted_count": len(shifted),
        "predicate_count": len(predicates), "level_count": len(plan.levels) - 1, "rules": tables.tables.rules.rules,
        "words": tables.tables.rules.words, "trees": count, "root_sum": 0 if trees is None else trees.root_sum,
        "base": 0.0 if trees is None else trees.base, "step": 1.0 if trees is None else 2.0**-trees.scale,
        "centre": 0 if tables.net is None else tables.net.table.centre_term,
        "rule_bytes": 4 * len(arrays["rule_block"]), **places,
    }  # fmt: skip
    return CudaTables(tensors, counts, depth, cut_depth, bounds, padded + table.lists + len(shifted), plan.slots)


def _rule_block(arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, int]]:
    """Return what score_few copies in one go, padded to 16 bytes, and where its parts begin; pairs begin at even words."""
    parts = [arrays[name].ravel() for name in ("steps", "segments", "predicates", "levels", "outputs", "shifted")]
    starts = np.cumsum([0, *map(len, parts)]).tolist()
    names = "segments_at", "predicates_at", "levels_at", "outputs_at", "shifted_at"
    block = np.concatenate([*parts, np.zeros(-starts[-1] % 4)]).astype(np.int32)
    return block, dict(zip(names, starts[1:], strict=False))


def _padded(columns: int) -> int:
    return -(-columns // 4) * 4


def _slot_offset(slot: np.ndarray) -> np.ndarray:
    return (slot >> 2) << 7 | (slot & 3)


def _shifted(trees: TreeTable) -> np.ndarray:
    """Return the columns that some node reads as bin + 1."""
    return np.unique(trees.column[(trees.shift == 1) & (trees.column >= 0)]).astype(np.int32)


def _largest_change(trees: TreeTable) -> int:
    inner = np.flatnonzero(trees.column >= 0)
    value, left = trees.value.astype(np.int64), trees.left[inner]
    return int(max(abs(value[left] - value[inner]).max(initial=0), abs(value[left + 1] - value[inner]).max(initial=0)))


def _search_trees(table, padded: int, depth: int) -> np.ndarray:
    """Return [padded, 2**depth] float32: each column's cuts as a complete search tree in heap order from place 1."""
    heap = np.full((padded, 2**depth), np.nan, np.float32)
    place = np.zeros(2**depth - 1, np.int64)  # of the i-th smallest
    for level in range(depth):
        step = 2 ** (depth - level)
        place[step // 2 - 1 :: step] = np.arange(2**level, 2 ** (level + 1))
    for k in range(table.columns):
        cuts = table.cuts[table.offsets[k] : table.offsets[k + 1]]
        heap[k, place[: len(cuts)]] = cuts
    return heap


def _trees(
    trees: TreeTable, depth: int, shifted: np.ndarray, first_shifted: int, contributions: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return nodes [T, 2**depth - 1], changes [T, 2**(depth + 1) - 2] or leaves [T, 2**depth], and bounds [T, F].

    T is a multiple of GROUP. Trees with large leaves are spread evenly among those with small ones (see CudaTables.chunks).
    """
    complete = complete_trees(trees)
    bounds = contribution_bounds(complete, trees.features)
    nodes, values = complete.nodes, complete.values.astype(np.int64)
    if complete.depth == 0:  # leaves alone: one level that changes nothing
        nodes, values = np.zeros((len(nodes), 1), np.int32), np.repeat(values, 3, axis=1)
    column, shift = nodes >> 9 & 2047, nodes >> 8 & 1
    slot = np.where(shift == 1, first_shifted + np.searchsorted(shifted, column), column)
    word = (256 - (nodes & 255)) << 23 | (nodes >> 20) << 13 | _slot_offset(slot)
    if contributions:
        parent = (np.arange(1, values.shape[1]) - 1) // 2
        out = values[:, 1:] - values[:, parent]
    else:
        out = values[:, 2**depth - 1 :]
    groups = -(-len(nodes) // GROUP)
    pad = ((0, groups * GROUP - len(nodes)), (0, 0))
    word, out, bounds = np.pad(word, pad), np.pad(out, pad), np.pad(bounds, pad)
    falling = np.argsort(-bounds.max(axis=1, initial=0), kind="stable")
    order = falling.reshape(GROUP, groups).T.ravel()
    return word[order].astype(np.uint32).view(np.int32), out[order].astype(np.int32), bounds[order]


# --- launches ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fit:
    """A launch's shape: grid, block and dynamic shared memory, and where things lie in that memory."""

    launch: tuple[int, int, int]
    places: dict[str, int]
    chunks: torch.Tensor
    tiling: Tiling


@functools.cache
def _properties(index: int) -> tuple[int, int, int, tuple[int, int]]:
    of = torch.cuda.get_device_properties(index)
    per_multiprocessor = getattr(of, "shared_memory_per_multiprocessor", of.shared_memory_per_block_optin + 1024)
    return of.multi_processor_count, of.shared_memory_per_block_optin, per_multiprocessor, (of.major, of.minor)


def _index(tables: DeviceTables) -> int:
    return tables.cuts.cuts.device.index or 0


def _fitting(ready: CudaTables, tables: DeviceTables, tiling: Tiling, from_bins: bool = False) -> dict[str, int] | None:
    """Return where things lie in shared memory, or None if they do not fit."""
    _, optin, whole, _ = _properties(_index(tables))
    features = tables.tables.cuts.features
    bin_bytes = 128 << max(-(-ready.slots // 4) - 1, 0).bit_length()
    sums = features + (-(-features // 2) if ready.wide else 0)
    area = max((features + ready.counts["derived"]) * 128, ready.rule_slots * 4, sums * 128)
    area = 0 if from_bins else -(-area // 128) * 128
    room = min(optin, whole // tiling.blocks - 1024) - tiling.groups * (bin_bytes + area)
    room = room // bin_bytes * bin_bytes
    tree = 0 if not ready.depth else 4 * sum(ready.tensors[name].shape[1] for name in ("nodes", "values"))
    column = 0 if from_bins else 4 << ready.cut_depth
    if room < GROUP * max(tree, column):
        return None
    chunk_trees = min(ready.counts["trees"], room // tree // GROUP * GROUP) if tree else 0
    chunk_columns = min(_padded(ready.counts["columns"]), room // column // 4 * 4) if column else 0
    chunk = -(-max(chunk_trees * tree, chunk_columns * column) // bin_bytes) * bin_bytes
    return {
        "all_trees": ready.counts["trees"], "chunk_trees": max(chunk_trees, GROUP), "chunk_columns": max(chunk_columns, 1),
        "chunk_bytes": chunk, "bin_bytes": bin_bytes, "area_bytes": area, "bins_at": chunk,
        "area_at": chunk + tiling.groups * bin_bytes,
    }  # fmt: skip


def _fit(
    ready: CudaTables, tables: DeviceTables, rows: int, tiling: Tiling | None, from_bins: bool = False, adds_up: bool = False
) -> _Fit:
    """Return the widest tiling that fits; a small batch is spread over all multiprocessors."""
    processors = _properties(_index(tables))[0]
    rounds = -(-rows // (32 * MOST_WARPS * processors))  # each multiprocessor takes as many tiles as the others
    groups = -(-rows // (32 * processors * max(rounds, 1)))
    # Only contributions are added up by several warps.
    chosen = tiling or Tiling(groups, split=MOST_WARPS // groups if adds_up else 1)
    while (places := _fitting(ready, tables, chosen, from_bins)) is None or (tiling is None and _cramped(places, chosen)):
        chosen = Tiling(chosen.groups - 4 if chosen.groups > 4 else chosen.groups // 2, split=chosen.split)
    tiles = -(-rows // (32 * chosen.groups))
    shared = places["area_at"] + chosen.groups * places["area_bytes"]
    chunks = _chunks(ready, tables, places["chunk_trees"])
    places.update(chunk_count=len(chunks) - 1, split=chosen.split)
    return _Fit((min(tiles, processors * chosen.blocks), 32 * chosen.groups * chosen.split, shared), places, chunks, chosen)


def _cramped(places: dict[str, int], tiling: Tiling) -> bool:
    """Whether fewer warps would be better than so small chunks, each of which all warps wait for."""
    return tiling.groups > 4 and places["chunk_bytes"] < GOOD_CHUNK_BYTES and places["chunk_trees"] < places["all_trees"]


def _chunks(ready: CudaTables, tables: DeviceTables, most: int) -> torch.Tensor:
    key = f"cuda chunks of {most}, {id(ready)}"
    if key not in tables.cache:
        tables.cache[key] = torch.tensor(ready.chunks(most), dtype=torch.int32, device=tables.cuts.cuts.device)
    return tables.cache[key]


def _function(name: str, tables: DeviceTables, ready: CudaTables, top: int, fit: _Fit | None, **defines: int) -> CudaFunction:
    blocks = fit.tiling.blocks if fit else 1
    threads = 1024 if fit is None else 32 * fit.tiling.groups * fit.tiling.split if blocks > 1 else 1024
    shape = {
        "FEATURES": tables.tables.cuts.features, "DEPTH": ready.depth, "TOP": top, "WIDE": ready.wide,
        "CUT_DEPTH": ready.cut_depth, "FROM_BINS": 0, "HOST_ROW": 0, "THREADS": FEW_THREADS, "MAX_THREADS": threads,
        "MIN_BLOCKS": blocks, "GROUP": GROUP, "KEPT": ready.kept if ready.wide else 0, "NET": int(tables.net is not None),
        **defines,
    }  # fmt: skip
    return _compiled(name, tuple(shape.items()), _index(tables))


@functools.cache
def _compiled(name: str, defines: tuple[tuple[str, int], ...], index: int) -> CudaFunction:
    _, optin, _, capability = _properties(index)
    with torch.cuda.device(index):
        return CudaFunction(compile_source(_SOURCE.read_text(), dict(defines), capability), name, optin)


def _program(ready: CudaTables, fit: _Fit | None, rows: int, **tensors: torch.Tensor | None) -> _Program:
    places = {name: at for name, at in fit.places.items() if name in _COUNTS} if fit else {}
    program = _Program(rows=rows, **ready.counts, **places)
    tensors["chunks"] = fit.chunks if fit else None
    for name, tensor in {**ready.tensors, **tensors}.items():
        setattr(program, name, None if tensor is None or not tensor.numel() else tensor.data_ptr())
    program.kept = (ready, tensors)  # memory that the launch reads
    return program


def _results(out: Outputs) -> dict[str, torch.Tensor | None]:
    names = ("margin", "hit", "insufficient", "error", "top_features", "top_contributions")
    return {name: getattr(out, name) for name in names} | {"terms": out.scratch.get("terms")}


def bind_rows(
    tables: DeviceTables, x: torch.Tensor, listed: torch.Tensor | None, top: int, out: Outputs, tiling: Tiling | None = None
) -> BoundLaunch:
    """Return the launch that scores a large batch: a lane a row."""
    ready = cuda_tables(tables, top)
    fit = _fit(ready, tables, len(x), tiling, adds_up=top > 0 and ready.depth > 0)
    program = _program(ready, fit, len(x), x=x, listed=listed, **_results(out))
    return _function("score_rows", tables, ready, top, fit).bind(*fit.launch, program)


def bind_few(tables: DeviceTables, x: torch.Tensor, listed: torch.Tensor | None, top: int, out: Outputs) -> BoundLaunch:
    """Return the launch that scores a small batch: a block a row. x and out may also be pinned memory of the host."""
    ready = cuda_tables(tables, top)
    program = _program(ready, None, len(x), x=x, listed=listed, **_results(out))
    shared = _few_places(ready, tables, program)
    return _function("score_few", tables, ready, top, None).bind(len(x), FEW_THREADS, shared, program)


def _few_places(ready: CudaTables, tables: DeviceTables, program: _Program) -> int:
    """Set where bins and the rest lie in the shared memory of score_few; return how much it takes."""
    features = tables.tables.cuts.features
    program.bins_at, program.area_at = 0, 128 * -(-ready.slots // 4)
    numbers = -(-(features + ready.counts["derived"]) // 4) * 4 + 3 * features + (tables.net is not None)
    program.rules_at = -(-(program.area_at + 4 * numbers + ready.rule_slots) // 16) * 16
    return program.rules_at + program.rule_bytes


class OneRow:
    """Scores one row at a time, host to host, by a CUDA graph of one kernel: it reads the row from pinned memory of the host
    and writes the result there; the host watches for the number of the call, which comes last, instead of waiting for the
    stream.

    Not for several threads at a time. tables, top: as for score_rows.

    Raises:
        KernelInputError: `refusal` gives a reason, or there is a net, whose kernels come before this one.
    """

    def __init__(self, tables: DeviceTables, top: int) -> None:
        _require(tables, top)
        if tables.net is not None:
            raise KernelInputError("one kernel alone scores no net; use score_rows in a captured graph")
        table, ready, device = tables.tables.cuts, cuda_tables(tables, top), tables.cuts.cuts.device
        self._layout, self._lists = whole_layout(1, tables.tables.rules.words, top), table.lists
        row_at = -(-self._layout.bytes // 8) * 8 + 8
        self._memory = torch.zeros(row_at + 4 * table.features + 4 + MAX_LISTS, dtype=torch.uint8).pin_memory()
        host = self._memory.numpy()
        self._result = host[: self._layout.bytes]
        self._x = host[row_at : row_at + 4 * table.features].view(np.float32)
        self._listed = host[row_at + 4 * table.features + 4 :].view(np.bool_)
        self._done = ctypes.c_uint32.from_address(self._memory.data_ptr() + row_at - 8)
        self._ticket = ctypes.c_uint32.from_address(self._memory.data_ptr() + row_at + 4 * table.features)
        program = _program(
            ready, None, 1, row=self._memory[row_at:], done=self._memory[row_at - 8 :], **result_views(self._memory, self._layout)
        )
        shared = _few_places(ready, tables, program)
        launch = _function("score_few", tables, ready, top, None, HOST_ROW=1).bind(1, FEW_THREADS, shared, program)
        self._stream = torch.cuda.Stream(device)
        self._graph = CudaGraph(launch, ctypes.c_void_p(self._stream.cuda_stream))

    def __call__(self, x: np.ndarray, memberships: np.ndarray | None = None) -> ScoredRows:
        """Return what score_rows says of one row x [F] float32 with memberships [L] bool (None: in no list)."""
        if x.dtype != np.float32 or x.shape != self._x.shape:
            raise KernelInputError(f"x must be float32 {list(self._x.shape)}; got {x.dtype} {list(x.shape)}")
        self._x[:] = x
        if self._lists:
            self._listed[: self._lists] = False if memberships is None else memberships
        done, ticket = self._done, self._ticket.value + 1 & 0xFFFFFFFF
        self._ticket.value = ticket
        self._graph.run()
        spins = 0
        while done.value != ticket:
            spins += 1
            if spins > 1_000_000:  # some tenths of a second: says what went wrong on the device, if something did
                self._stream.synchronize()
                spins = 0
        return ScoredRows(self._layout, self._result.copy())
