"""The learned policy: a contextual bandit that picks, a window at a time, one of several tunings of the ECT router.

It can only be as wrong as the worst tuning, and is kept from that too:
- a tuning is chosen over the safe one only where its expected cost is lower by more than the uncertainty;
- tunings that could not carry the load, or would break the target, are masked (see _is_safe), and each gives way to the safe one
  at once, within its window, when the queue grows old;
- it explores in at most `explore` of the windows, and only while the queue is younger than half the target;
- when the rate of arrival changes, the safe tuning serves until the rate is known again;
- when it does worse than the safe tuning would have done by its own estimate, it switches itself off for a time.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from inference_core.errors import SchedulingError
from inference_core.scheduling.context import FEATURES, ContextReader, capacity_per_us
from inference_core.scheduling.expected_completion import Tuning, choose
from inference_core.scheduling.linear_cost import LinearCost
from inference_core.scheduling.policy import Situation, Unit

# What the safe choice is made of: plain ECT in quiet times; under load, or once the queue is old, a divided queue and batches of
# half the target. On validation seeds it is never worse than plain ECT in any class of traffic.
PLAIN, SAFE = Tuning(), Tuning(divide=1.0, batch_share=0.5)
# Shares of the capacity and of the target up to which a time is quiet.
_QUIET_LOAD, _QUIET_AGE = 0.6, 0.1
# The first is the safe one.
ARMS: tuple[Tuning, ...] = (
    SAFE,
    PLAIN,
    Tuning(divide=1.0, batch_share=0.3),
    Tuning(divide=1.0, batch_share=0.2),
    Tuning(divide=1.0, batch_share=0.5, low_units=1),
    Tuning(divide=1.0, batch_share=0.2, low_units=1),
    Tuning(divide=1.0, batch_share=0.5, wait_share=1.0),
)
# Every tuning gives way to the safe one while the queue is older than this share of the target: what it is good for is shorter
# latencies while there is time, and most of them pay for those with capacity.
_PRESSED_AGE = 0.25
_MOST_LOAD = 0.95
_MOST_LOW_LOAD = 0.85


@dataclass(frozen=True)
class LearnedConfig:
    """Attributes:
    window_us: how long a choice holds, at the least.
    horizon: windows over which the cost of a choice is counted: queues outlive a window.
    explore: share of windows in which another safe tuning is tried.
    doubt: how many standard errors the advantage over the safe tuning must have.
    least_gain: the advantage itself, as a share of the cost.
    hold_windows: for how many windows the safe tuning serves after a change of the rate.
    off_us: for how long it stays off after doing worse than the safe tuning.
    """

    window_us: float = 5_000.0
    horizon: int = 4
    explore: float = 0.01
    doubt: float = 2.0
    least_gain: float = 0.05
    hold_windows: int = 1
    off_us: float = 2_000_000.0

    def __post_init__(self) -> None:
        if not 0 <= self.explore <= 0.05:
            raise SchedulingError(f"explore must be from 0 to 0.05; got {self.explore!r}")
        if not 100 <= self.window_us <= 10_000_000 or self.horizon < 1 or self.off_us < 0:
            raise SchedulingError("window_us must be from 100 to 10000000, horizon at least 1 and off_us at least 0")


@dataclass(frozen=True)
class Choice:
    """One window as it was: what off-policy evaluation needs.

    Attributes:
        window: its number: windows begin at multiples of their length.
        context: see context.FEATURES.
        arm: index of the tuning that served.
        propensity: with which probability it was chosen.
        cost: logarithm of the LIVE latencies over the horizon, by the target.
    """

    window: int
    context: tuple[float, ...]
    arm: int
    propensity: float
    cost: float


class _Window:
    __slots__ = ("arm", "context", "costs", "number", "propensity")

    def __init__(self, number: int, context: tuple[float, ...], arm: int, propensity: float) -> None:
        self.number, self.context, self.arm, self.propensity = number, context, arm, propensity
        self.costs: list[float] = []


class LearnedPolicy:
    """See the module. Deterministic from its seed.

    Attributes:
        models: the first tells the cost of the safe tuning, each other one how much more its own costs than that.
        log: the latest windows, for off-policy evaluation.
    """

    name = "learned"

    def __init__(
        self,
        models: Sequence[LinearCost] | None = None,
        config: LearnedConfig | None = None,
        arms: Sequence[Tuning] = ARMS,
        seed: int = 0,
        reader: ContextReader | None = None,
    ) -> None:
        self.config, self.arms = config or LearnedConfig(), tuple(arms)
        self.models = list(models) if models is not None else [LinearCost(len(FEATURES)) for _ in self.arms]
        if len(self.models) != len(self.arms):
            raise SchedulingError(f"{len(self.arms)} tunings need as many learned lines; got {len(self.models)}")
        self.log: deque[Choice] = deque(maxlen=4096)
        self.reader = reader or ContextReader()
        self._random = random.Random(seed)
        self._tuning = self.arms[0]
        self._end_us = self._off_until_us = -math.inf
        self._open: deque[_Window] = deque()
        self._changes = 0
        self._hold = 0
        self._rows = 0
        self._sum = self._most = 0.0
        self._regret = self._regret_weight = 0.0
        self.windows = self.explored = self.held = self.switched_off = 0
        self.used = [0] * len(self.arms)

    def choose(self, situation: Situation) -> tuple[Unit, int, int] | None:
        """See Policy."""
        now = situation.now_us
        if now >= self._end_us:
            self._turn(situation)
        age, target = now - situation.oldest_us, situation.config.target_us
        if self._tuning is self.arms[0]:
            is_quiet = age <= _QUIET_AGE * target and max(self.reader.load, self.reader.recent_load) <= _QUIET_LOAD
            return choose(situation, PLAIN if is_quiet else self._tuning)
        return choose(situation, self._tuning if age <= _PRESSED_AGE * target else SAFE)

    def completed(
        self, situation: Situation, unit: Unit, rows: int, took_us: float, live_rows: int, oldest_live_us: float
    ) -> None:
        """See Policy."""
        if live_rows:
            self._rows += live_rows
            self._sum += live_rows * oldest_live_us
            if oldest_live_us > self._most:
                self._most = oldest_live_us

    def figures(self) -> dict[str, Any]:
        """Return what metrics show."""
        return {
            "tuning": asdict(self._tuning),
            "windows": self.windows,
            "explored": self.explored,
            "held_after_change": self.held,
            "switched_off": self.switched_off,
            "windows_by_tuning": list(self.used),
        }

    def to_json(self) -> dict[str, Any]:
        """Return what was learned, as plain JSON."""
        return {
            "features": list(FEATURES),
            "arms": [
                {"tuning": asdict(arm), "model": model.to_json()} for arm, model in zip(self.arms, self.models, strict=True)
            ],
        }

    @classmethod
    def from_json(
        cls, of: dict[str, Any], config: LearnedConfig | None = None, seed: int = 0, reader: ContextReader | None = None
    ) -> LearnedPolicy:
        """Return a policy that goes on from what to_json gave.

        Raises:
            SchedulingError: it is damaged, or was learned with other features.
        """
        try:
            if of["features"] != list(FEATURES):
                raise SchedulingError("the policy was learned with other features; train it again")
            arms = [Tuning(**arm["tuning"]) for arm in of["arms"]]
            models = [LinearCost.from_json(arm["model"], len(FEATURES)) for arm in of["arms"]]
        except (KeyError, TypeError) as error:
            raise SchedulingError(f"the learned policy is damaged ({error!r}); train it again") from None
        if not arms or arms[0] != SAFE:
            raise SchedulingError("the first tuning of a learned policy must be the safe one; train it again")
        return cls(models, config, arms, seed, reader)

    # --- a window ends -------------------------------------------------------------------------------------------------

    def _turn(self, situation: Situation) -> None:
        now, config = situation.now_us, self.config
        self._close_window(situation)
        context = self.reader.read(situation)
        arm, propensity = self._pick(situation, context)
        number = int(now / config.window_us)
        self._open.append(_Window(number, context, arm, propensity))
        self._tuning = self.arms[arm]
        self._end_us = (number + 1) * config.window_us
        self.windows += 1
        self.used[arm] += 1

    def _pick(self, situation: Situation, context: tuple[float, ...]) -> tuple[int, float]:
        """Return the tuning for the next window and the probability with which it was chosen."""
        traffic = situation.traffic
        if traffic.changes != self._changes:
            self._changes, self._hold = traffic.changes, self.config.hold_windows
        if self._hold > 0:
            self._hold -= 1
            self.held += 1
            return 0, 1.0
        if situation.now_us < self._off_until_us:
            return 0, 1.0
        safe = [arm for arm in range(len(self.arms)) if arm == 0 or self._is_safe(situation, self.arms[arm])]
        best = self._best(context, safe)
        explore = self.config.explore if self.reader.age < 0.5 and len(safe) > 1 else 0.0
        if explore and self._random.random() < explore:
            self.explored += 1
            arm = safe[self._random.randrange(len(safe))]
        else:
            arm = best
        return arm, explore / len(safe) + (1.0 - explore if arm == best else 0.0)

    def _best(self, context: tuple[float, ...], safe: Sequence[int]) -> int:
        """Return the tuning with the largest advantage over the safe one, or that one where the advantage is not beyond doubt."""
        config, models = self.config, self.models
        best, best_cost = 0, 0.0
        for arm in safe[1:]:
            cost = models[arm].mean(context)
            if cost < best_cost:
                best, best_cost = arm, cost
        if best and best_cost + config.least_gain + config.doubt * models[best].deviation(context) > 0.0:
            return 0
        return best

    def _is_safe(self, situation: Situation, tuning: Tuning) -> bool:
        """Whether the tuning's predicted p99 keeps within the slack: it carries the load, and waits only where there is time."""
        config, reader = situation.config, self.reader
        if tuning.batch_share < 1.0:
            full = capacity_per_us(situation, config.target_us)
            share = capacity_per_us(situation, config.target_us * tuning.batch_share) / full
            # In overload no size carries the load: there a little less capacity may be paid for shorter batches.
            if max(reader.load, reader.recent_load) > _MOST_LOAD * share and share < 0.97:
                return False
        if tuning.low_units:
            units = sum(unit.healthy for unit in situation.units)
            if tuning.low_units >= units or reader.low_load <= 0.0:
                return False
            if reader.low_load > _MOST_LOW_LOAD * tuning.low_units / units:
                return False
        if tuning.wait_share:
            wait = tuning.wait_share * config.max_queue_delay_us
            slowest = max(unit.lines[situation.variant].fixed_p99_us for unit in situation.units)
            if not wait or reader.age * config.target_us + wait + slowest > config.target_us:
                return False
        return True

    def _close_window(self, situation: Situation) -> None:
        if not self._open:
            return
        if self._rows:
            us = 0.5 * (self._sum / self._rows + self._most)
            cost = math.log(max(us, 1.0) / situation.config.target_us)
            arm = self._open[-1].arm
            for window in self._open:
                if window.arm == arm:
                    window.costs.append(cost)
        self._rows, self._sum, self._most = 0, 0.0, 0.0
        while self._open and (len(self._open) >= self.config.horizon or not self._open[-1].costs):
            self._learn(self._open.popleft(), situation)

    def _learn(self, window: _Window, situation: Situation) -> None:
        if not window.costs:
            return
        cost = sum(window.costs) / len(window.costs)
        self.log.append(Choice(window.number, window.context, window.arm, window.propensity, cost))
        if not window.arm:
            self.models[0].learn(window.context, cost)
            return
        over_safe = cost - self.models[0].mean(window.context)
        self.models[window.arm].learn(window.context, over_safe)
        self._watch(over_safe, situation)

    def _watch(self, regret: float, situation: Situation) -> None:
        """Switch off where costs have been above those that the safe tuning was expected to have, by more than chance."""
        self._regret += 0.05 * (min(max(regret, -2.0), 2.0) - self._regret)
        self._regret_weight += 0.05 * (1.0 - self._regret_weight)
        error = math.sqrt(self.models[0].variance * 0.05 * self.config.horizon)
        if self._regret / self._regret_weight > 0.1 + 2.0 * error and self._regret_weight > 0.5:
            self._off_until_us = situation.now_us + self.config.off_us
            self.switched_off += 1
            self._regret = self._regret_weight = 0.0
