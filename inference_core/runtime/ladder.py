"""The ladder: a few static programs made for shapes that come often, and dynamic variants for everything else.

Rows are padded up to the next bucket. Which variant serves a bucket follows from measured cost lines, or from each
variant's usual sizes before any were measured. A shape that came `promote_after` times without a static program gets
one; the number of programs is bounded, and the one not used for longest goes. Every variant gives the same bits, so a
guard that fails costs time, never an answer. So does an accelerator that fails (lost, out of memory): the CPU runs the
batch at once and all that follow, and the accelerator is tried again after RETRY_SECONDS.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass

import numpy as np

from inference_core.errors import ProgramError
from inference_core.runtime.cost import CostLine, CostTable
from inference_core.runtime.devices import DeviceKind
from inference_core.runtime.executor import DynamicVariant, Shape, StaticProgram, StaticVariant
from inference_core.runtime.pools import shared_pool
from kernels.errors import KernelInputError
from kernels.score_rows import ScoredRows, ScoreTables

logger = logging.getLogger(__name__)
_FLOAT32, _BOOL = np.dtype(np.float32), np.dtype(np.bool_)
# One thread for all ladders: capturing a graph is rare, and two at once would disturb each other.
_builder = shared_pool("ladder", 1)
# Rows are looked through for missing values only where that saves at least a twentieth of the time.
_WORTH_LOOKING = 0.95
RETRY_SECONDS = 30.0


@dataclass(frozen=True)
class LadderConfig:
    """Attributes:
    largest: rows of the largest bucket; larger batches are dynamic.
    step: how much larger the next bucket is, from 1.25 to 1.5; what padding may waste.
    promote_after: how often a shape must come before it gets a static program.
    most_programs: how many static programs there may be.
    """

    largest: int = 4096
    step: float = 1.4
    promote_after: int = 3
    most_programs: int = 64

    def __post_init__(self) -> None:
        if not 1 <= self.largest <= 1 << 20:
            raise ProgramError(f"largest must be from 1 to {1 << 20} rows; got {self.largest}")
        if not 1.25 <= self.step <= 1.5:
            raise ProgramError(f"step must be from 1.25 to 1.5; got {self.step}")
        if self.promote_after < 1 or self.most_programs < 1:
            raise ProgramError("promote_after and most_programs must be at least 1")

    def buckets(self) -> tuple[int, ...]:
        """Return the sizes, ascending: 1, 2, 3, ... and then each `step` times the one before."""
        sizes = [1]
        while sizes[-1] < self.largest:
            sizes.append(min(max(sizes[-1] + 1, int(sizes[-1] * self.step)), self.largest))
        return tuple(sizes)


@dataclass(frozen=True)
class LadderCounters:
    """Batches, and what was made for them, since the ladder was built.

    Attributes:
        hits: batches that a static program answered.
        dynamic: batches for which a dynamic variant is the cheaper one, or that no bucket holds.
        misses: batches whose shape has no static program yet.
        guard_failures: batches within the ladder's sizes whose dtype, memory order or lists no static program takes.
        busy: batches whose static program was at work for another thread.
        promotions: static programs made because their shape came often.
        recompiles: those among them that had been there before and had to go.
        failed_builds: static programs that could not be made.
        device_failures: batches that an accelerator failed on; the CPU ran them.
        static_programs: how many there are now.
    """

    hits: int = 0
    dynamic: int = 0
    misses: int = 0
    guard_failures: int = 0
    busy: int = 0
    promotions: int = 0
    recompiles: int = 0
    failed_builds: int = 0
    device_failures: int = 0
    static_programs: int = 0

    def __add__(self, later: LadderCounters) -> LadderCounters:
        """Return the sums of two ladders, one of which took over from the other: the programs are those of the later."""
        sums = {name: value + getattr(later, name) for name, value in asdict(self).items()}
        return LadderCounters(**sums | {"static_programs": later.static_programs})


class _Rung:
    """One static program with its lock and its counts."""

    __slots__ = ("hits", "last_used", "lock", "run", "variant")

    def __init__(self, variant: StaticVariant, program: StaticProgram, now: int) -> None:
        self.run, self.variant = program.run, variant
        self.lock, self.hits, self.last_used = threading.Lock(), 0, now


_COUNTED = ("dynamic", "misses", "guard_failures", "busy", "promotions", "recompiles", "failed_builds", "device_failures")
_Key = tuple[int, int, bool, bool]  # the fields of Shape: bucket, top, lists, complete


class Ladder:
    """Runs batches of one program's tables; safe to share between threads.

    Attributes:
        tables, config: what it was made of.
        costs: the lines that it chooses by.
        device_failed: an accelerator that should serve does not, and the CPU does its work.
    """

    def __init__(
        self,
        tables: ScoreTables,
        static: Sequence[StaticVariant],
        dynamic: Sequence[DynamicVariant],
        config: LadderConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not dynamic:
            raise ProgramError("a ladder needs a dynamic variant: it is the one that takes any batch")
        self.tables, self.config = tables, config or LadderConfig()
        self.costs: tuple[CostTable, ...] = ()
        self._static, self._dynamic = tuple(static), tuple(dynamic)
        self._all = self._static, self._dynamic
        self._now, self._retry_at = clock, 0.0
        self.device_failed = False
        self._features, self._lists = tables.cuts.features, tables.cuts.lists
        self._buckets = self.config.buckets()
        self._largest = self._buckets[-1]
        self._bucket = _bucket_of_rows(self._buckets)
        self._rungs: dict[_Key, _Rung] = {}
        self._seen: dict[_Key, int] = {}
        self._had: set[_Key] = set()
        self._building: dict[_Key, Future] = {}
        self._lock = threading.Lock()
        self._clock = itertools.count()
        self._count = dict.fromkeys(_COUNTED, 0)
        self._hits_of_dropped = 0
        self._choose_variants()

    # --- running ---------------------------------------------------------------------------------------------------

    def run(self, x: np.ndarray, memberships: np.ndarray | None = None, top: int = 0) -> ScoredRows:
        """Score a batch; see kernels.score_rows.score_rows for the contract and the errors."""
        if self._retry_at and self._now() >= self._retry_at:
            self._use_all_devices()
        try:
            return self._run(x, memberships, top)
        except KernelInputError:
            raise  # of the caller's making
        except Exception:
            if not self._leave_accelerators():
                raise
        return self._run(x, memberships, top)

    def _leave_accelerators(self) -> bool:
        """Go on with the CPU alone after a failure; False where it is alone already."""
        on_cpu = [tuple(v for v in of if v.device.kind is DeviceKind.CPU) for of in self._all]
        if not on_cpu[1] or (self._static, self._dynamic) == tuple(on_cpu):
            return False
        logger.exception("an accelerator failed: the CPU runs the batch, and those of the next %.0f s", RETRY_SECONDS)
        with self._lock:
            self._count["device_failures"] += 1
        self._static, self._dynamic = on_cpu
        self._retry_at, self.device_failed = self._now() + RETRY_SECONDS, True
        self._choose_variants()
        return True

    def _use_all_devices(self) -> None:
        self._static, self._dynamic = self._all
        self._retry_at, self.device_failed = 0.0, False
        self._choose_variants()

    def without_device(self) -> None:
        """Tell that an accelerator was left out for good, because it failed before it served."""
        self.device_failed = True

    def _run(self, x: np.ndarray, memberships: np.ndarray | None, top: int) -> ScoredRows:
        shape = x.shape
        rows = shape[0] if shape else 0
        if rows > self._largest:
            return self._run_dynamic("dynamic", x, memberships, top)
        # The guards. A dtype is compared by identity: an equal one of another make fails, which costs time only.
        if (
            x.dtype is not _FLOAT32
            or shape != (rows, self._features)
            or not x.flags.c_contiguous
            or (memberships is not None and not self._lists_fit(memberships, rows))
        ):
            return self._run_dynamic("guard_failures", x, memberships, top)
        bucket = self._bucket[rows]
        complete = bucket in self._asks_for_missing and not has_missing(x)
        key = (bucket, top, memberships is not None, complete)
        rung = self._rungs.get(key)
        if rung is None:
            return self._without_program(key, x, memberships, top)
        if not rung.lock.acquire(False):
            return self._run_dynamic("busy", x, memberships, top)
        try:
            rung.hits += 1
            rung.last_used = next(self._clock)
            return rung.run(x, memberships)
        finally:
            rung.lock.release()

    def _without_program(self, key: _Key, x: np.ndarray, memberships: np.ndarray | None, top: int) -> ScoredRows:
        variant = self._chosen.get((key[0], key[3]))
        if variant is None:
            return self._run_dynamic("dynamic", x, memberships, top)
        scored = self._run_dynamic("misses", x, memberships, top)  # refuses a wrong `top`, which gets no program
        self._see(key, variant)
        return scored

    def _run_dynamic(self, why: str, x: np.ndarray, memberships: np.ndarray | None, top: int) -> ScoredRows:
        with self._lock:
            self._count[why] += 1
        rows = len(x) if x.ndim else 0
        run = self._dynamic_run[self._bucket[rows]] if rows <= self._largest else self._dynamic_for(rows).run
        return run(x, memberships, top)

    def _lists_fit(self, memberships: np.ndarray, rows: int) -> bool:
        return memberships.dtype is _BOOL and memberships.shape == (rows, self._lists) and memberships.flags.c_contiguous

    # --- static programs -------------------------------------------------------------------------------------------

    def warm(self, largest: int, tops: Sequence[int] = (0,), lists: Sequence[bool] = (False, True)) -> None:
        """Make the static programs for all buckets up to the one of `largest` rows, and wait until they are there."""
        last = self._bucket[min(largest, self._largest)]
        for (size, complete), variant in sorted(self._chosen.items(), key=lambda of: of[0]):
            for top, listed in itertools.product(tops, lists):
                if size <= last and (size, top, listed, complete) not in self._rungs:
                    self._build((size, top, listed, complete), variant, promoted=False)

    def settle(self) -> None:
        """Wait for the programs that are being made beside the traffic."""
        for future in list(self._building.values()):
            future.result()

    def counters(self) -> LadderCounters:
        """Return how the ladder has done so far."""
        with self._lock:
            hits = self._hits_of_dropped + sum(rung.hits for rung in self._rungs.values())
            return LadderCounters(hits=hits, static_programs=len(self._rungs), **self._count)

    def _see(self, key: _Key, variant: StaticVariant) -> None:
        with self._lock:
            self._seen[key] = self._seen.get(key, 0) + 1
            if self._seen[key] < self.config.promote_after or key in self._building:
                return
            if not variant.quick_to_build:
                self._building[key] = _builder().submit(self._build, key, variant, True)
                return
            self._building[key] = here = Future()
        self._build(key, variant, promoted=True)
        here.set_result(None)

    def _build(self, key: _Key, variant: StaticVariant, promoted: bool) -> None:
        try:
            program = variant.prepare(Shape(*key))
        except Exception:
            # The batch was answered by a dynamic variant; this shape stays with it.
            logger.exception("%s: no static program for %d rows could be made, a dynamic variant goes on", variant.name, key[0])
            with self._lock:
                self._count["failed_builds"] += 1
            return
        with self._lock:
            if self._chosen.get((key[0], key[3])) is variant:
                self._install(key, _Rung(variant, program, next(self._clock)), promoted)
            else:  # other cost lines came meanwhile
                self._forget(key)

    def _install(self, key: _Key, rung: _Rung, promoted: bool) -> None:
        if len(self._rungs) >= self.config.most_programs and key not in self._rungs:
            self._drop(min(self._rungs, key=lambda of: self._rungs[of].last_used))
        self._count["promotions"] += promoted
        self._count["recompiles"] += promoted and key in self._had
        self._had.add(key)
        self._rungs[key] = rung

    def _drop(self, key: _Key) -> None:
        self._hits_of_dropped += self._rungs.pop(key).hits
        self._forget(key)

    def _forget(self, key: _Key) -> None:
        self._building.pop(key, None)
        self._seen.pop(key, None)

    # --- choice ----------------------------------------------------------------------------------------------------

    def use_costs(self, costs: Sequence[CostTable]) -> None:
        """Choose by these measured lines from now on; a variant without a line is not used.

        Raises:
            ProgramError: none of the lines is of a dynamic variant.
        """
        names = {line.variant for table in costs for line in table.lines}
        if not any(variant.name in names for variant in self._dynamic):
            raise ProgramError("the cost lines name no dynamic variant of this ladder; measure them again")
        self.costs = tuple(costs)
        self._choose_variants()

    def variants(self) -> tuple[StaticVariant | DynamicVariant, ...]:
        """Return all variants, for measuring them one by one."""
        return (*self._static, *self._dynamic)

    def dynamic_variants(self) -> tuple[DynamicVariant, ...]:
        """Return the variants that take any batch."""
        return self._dynamic

    def programs(self) -> Iterator[tuple[str, Shape, Callable[[np.ndarray, np.ndarray | None], ScoredRows]]]:
        """Yield (variant, shape, run) of each static program, for checking; run takes its turn with the traffic."""
        with self._lock:
            rungs = list(self._rungs.items())
        for key, rung in rungs:
            yield rung.variant.name, Shape(*key), _in_turn(rung)

    def _choose_variants(self) -> None:
        lines = {line.variant: line for table in self.costs for line in table.lines}
        dynamic_lines = tuple(lines[v.name] for v in self._dynamic if v.name in lines)
        self._dynamic_costs = CostTable("", dynamic_lines) if dynamic_lines else None
        self._dynamic_by_name = {variant.name: variant for variant in self._dynamic}
        chosen: dict[tuple[int, bool], StaticVariant] = {}
        below = 0
        for size in self._buckets:
            for complete, variant in enumerate(self._cheapest_static(size, (below + 1 + size) / 2, lines)):
                if variant is not None:
                    chosen[size, bool(complete)] = variant
            below = size
        dynamic_run = {size: self._dynamic_for(size).run for size in (0, *self._buckets)}
        with self._lock:
            self._chosen, self._dynamic_run = chosen, dynamic_run
            self._asks_for_missing = frozenset(size for size, complete in chosen if complete)
            for key in [key for key, rung in self._rungs.items() if chosen.get((key[0], key[3])) is not rung.variant]:
                self._drop(key)

    def _cheapest_static(
        self, size: int, mean_rows: float, lines: dict[str, CostLine]
    ) -> tuple[StaticVariant | None, StaticVariant | None]:
        """Return the variants for a bucket's batches, and for those of them without a missing value (None: as the others).

        Padded, a batch costs what `size` rows cost; a dynamic variant costs what came, `mean_rows`.
        """
        if self._dynamic_costs is None:
            usual = (v for v in self._static if v.usual_rows[0] <= size <= v.usual_rows[1] and not v.needs_complete)
            return next(usual, None), None
        limit = min(line.at(mean_rows) for line in self._dynamic_costs.lines)
        found: list[StaticVariant | None] = []
        for complete in (False, True):
            measured = [v for v in self._static if v.name in lines and v.needs_complete == complete and size <= v.most_rows]
            best = min(measured, key=lambda v: lines[v.name].at(size), default=None)
            if best is None or lines[best.name].at(size) >= limit:
                found.append(None)
                continue
            found.append(best)
            limit = lines[best.name].at(size) * _WORTH_LOOKING
        return found[0], found[1]

    def _dynamic_for(self, rows: int) -> DynamicVariant:
        if self._dynamic_costs is not None:
            return self._dynamic_by_name[self._dynamic_costs.choose(rows).variant]
        fitting = (v for v in self._dynamic if v.usual_rows[0] <= rows <= v.usual_rows[1])
        return next(fitting, self._dynamic[0])


def _bucket_of_rows(buckets: Sequence[int]) -> list[int]:
    """Return for each number of rows, from 0 on, the smallest bucket that holds it; none is made for 0 rows."""
    found = [0]
    for size in buckets:
        found += [size] * (size + 1 - len(found))
    return found


def has_missing(x: np.ndarray) -> bool:
    """Return whether a value of a C-contiguous array is NaN: the smallest of all is NaN where one is."""
    if not x.size:
        return False
    smallest = np.minimum.reduce(x.ravel())
    return bool(smallest != smallest)


def _in_turn(rung: _Rung) -> Callable[[np.ndarray, np.ndarray | None], ScoredRows]:
    def run(x: np.ndarray, memberships: np.ndarray | None) -> ScoredRows:
        with rung.lock:
            return rung.run(x, memberships)

    return run
