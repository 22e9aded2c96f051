"""What a policy is asked, and what it answers: the same for the live scheduler, the simulator and every baseline."""

from __future__ import annotations

from typing import Protocol

from inference_core.scheduling.config import DynamicBatchConfig
from inference_core.scheduling.cost_model import OnlineLine
from inference_core.scheduling.traffic import Traffic


class Unit:
    """One device, or one engine process, that runs a batch at a time.

    Attributes:
        name: such as "cpu:0".
        lines: its cost line by variant; the scheduler's `variant` is an index into it.
        idle: whether it takes a batch now.
        busy_until_us: when the batch on it is expected to end.
        busy_us: how long it has been at work, in all.
        rows: of the batch on it; low: whether it holds rows of other classes than LIVE.
        spare: whether it is kept for bursts of LIVE work.
        healthy: whether it may be used; the owner takes a lost device out.
    """

    __slots__ = ("busy_until_us", "busy_us", "healthy", "idle", "lines", "low", "name", "rows", "spare", "variants")

    def __init__(self, name: str, variants: tuple[str, ...], lines: list[OnlineLine], spare: bool = False) -> None:
        self.name, self.variants, self.lines, self.spare = name, variants, lines, spare
        self.idle = self.healthy = True
        self.busy_until_us = self.busy_us = 0.0
        self.rows = 0
        self.low = False


class Situation:
    """What a policy sees; one object that the scheduler keeps up to date.

    Attributes:
        config: the limits.
        units: the units in use, idle or not, without the spare one.
        traffic: the rates of arrival.
        now_us: monotonic microseconds.
        waiting: rows that wait, all classes.
        live: those of LIVE.
        low_running: how many units are at work on rows of the other classes.
        oldest_us: when the oldest of them arrived.
        variant: index of the program variant that the next batch runs.
        wake_us: a policy that waits sets when to ask it again; 0 for "at the next event".
    """

    __slots__ = ("config", "live", "low_running", "now_us", "oldest_us", "traffic", "units", "variant", "waiting", "wake_us")

    def __init__(self, config: DynamicBatchConfig, units: list[Unit], traffic: Traffic) -> None:
        self.config, self.units, self.traffic = config, units, traffic
        self.now_us = self.oldest_us = self.wake_us = 0.0
        self.waiting = self.live = self.low_running = self.variant = 0


class Policy(Protocol):
    """Decides where the next batch goes and how large it may be. It holds no clock and draws no random number of its own
    but from a seed, so that a run can be repeated.

    Attributes:
        name: for reports and metrics.
    """

    name: str

    def choose(self, situation: Situation) -> tuple[Unit, int, int] | None:
        """Return an idle unit, the most rows for it and the most rows of other classes than LIVE among them, or None to wait
        (see Situation.wake_us).

        Asked only while rows wait and at least one unit is idle.
        """
        ...

    def completed(
        self, situation: Situation, unit: Unit, rows: int, took_us: float, live_rows: int, oldest_live_us: float
    ) -> None:
        """Learn that a batch has ended, and how long ago the oldest of its LIVE rows had arrived."""
        ...
