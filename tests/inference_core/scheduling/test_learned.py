"""The learned policy learns, and its safeguards hold: budgeted exploration, masks, change points, switching itself off."""

import json
import random

import pytest

from inference_core.errors import SchedulingError
from inference_core.scheduling import DynamicBatchConfig, ExpectedCompletion, Priority
from inference_core.scheduling.context import FEATURES, ContextReader
from inference_core.scheduling.learned import ARMS, SAFE, LearnedConfig, LearnedPolicy
from inference_core.scheduling.linear_cost import LinearCost
from inference_core.scheduling.trained import trained_policy
from tests.inference_core.scheduling.schedulers import TWO_UNITS, arrive, scheduler

WHOLE = 1  # index of plain ECT
SMALL = 3  # index of a tuning with small batches
LOW = 4  # index of a tuning that keeps a unit free of bulk work


def serve(policy, *, length_us=300_000.0, gap_us=lambda now: 100.0, bulk_every=0, seed=1, config=None, lines=None):
    """Serve a Poisson stream in exact time; return the scheduler."""
    of = scheduler(lines or TWO_UNITS, config, policy)
    source, now, running, arrived = random.Random(seed), 0.0, [], 0
    comes = 0.0
    while now < length_us:
        ends = min((end for end, *_ in running), default=float("inf"))
        now = min(comes, ends)
        for entry in [entry for entry in running if entry[0] <= now]:
            running.remove(entry)
            of.completed(entry[2], entry[1], entry[0])
        if comes <= now:
            arrived += 1
            arrive(of, Priority.LIVE, 1, now)
            if bulk_every and arrived % bulk_every == 0:
                arrive(of, Priority.BULK, 100, now)
            comes += source.expovariate(1.0 / gap_us(now))
        while (dispatch := of.next(now)) is not None:
            taken, _ = of.start(dispatch, now)
            if taken:
                running.append((now + dispatch.expected_us * source.lognormvariate(0, 0.1), now, dispatch))
    return of


def certain(cost: float) -> LinearCost:
    """Return a line that is sure of one cost in every context: the functions of the recent load sum to one."""
    size = len(FEATURES)
    state = {
        "weights": [cost if name.startswith("recent load") else 0.0 for name in FEATURES],
        "inverse": [[1e-4 if i == j else 0.0 for j in range(size)] for i in range(size)],
        "seen": 1_000,
        "variance": 0.01,
    }
    return LinearCost.from_json(state, size)


def policy_that_prefers(arm, safe_cost=-4.0, **config) -> LearnedPolicy:
    """Return a policy that is sure that a tuning costs less than the safe one in every context."""
    models = [certain(safe_cost if number == 0 else -1.0 if number == arm else 0.5) for number in range(len(ARMS))]
    return LearnedPolicy(models, LearnedConfig(**config))


def test_knowing_nothing_it_serves_as_the_safe_tuning():
    policy = LearnedPolicy(config=LearnedConfig(explore=0.0))
    serve(policy)
    assert policy.used[0] == policy.windows > 50


@pytest.mark.parametrize(("load", "waited_us", "is_quiet"), [(0.5, 0.0, True), (0.5, 2_500.0, False), (0.7, 0.0, False)])
def test_the_safe_choice_is_plain_ect_in_quiet_times_alone(load, waited_us, is_quiet):
    policy, chosen = LearnedPolicy(config=LearnedConfig(explore=0.0)), []
    for each in (policy, ExpectedCompletion(), ExpectedCompletion(SAFE)):
        of = scheduler(policy=each)
        for _ in range(600):
            arrive(of, Priority.LIVE, 1, 0.0)
        of.next(0.0)  # begins a window
        policy.reader.recent_load = load
        chosen.append(of.next(waited_us).counts)
    learned, plain, safe = chosen
    assert plain != safe and learned == (plain if is_quiet else safe)


def test_what_was_learned_is_used():
    policy = policy_that_prefers(SMALL, explore=0.0)
    serve(policy)
    assert policy.used[SMALL] > 0.8 * policy.windows


def test_better_tuning_is_found_from_its_costs():
    model, source = LinearCost(3), random.Random(1)
    for _ in range(3_000):
        x = (1.0, source.random(), source.random())
        model.learn(x, 2.0 * x[1] - 1.0 + source.gauss(0, 0.3))
    assert model.mean((1.0, 0.9, 0.5)) == pytest.approx(0.8, abs=0.08)
    assert model.mean((1.0, 0.1, 0.5)) == pytest.approx(-0.8, abs=0.08)
    assert model.deviation((1.0, 0.5, 0.5)) < 0.05
    assert model.variance == pytest.approx(0.09, rel=0.4)


def test_line_forgets_what_is_no_longer_true():
    model, source = LinearCost(2, forgetting=0.99), random.Random(2)
    for turn in range(2_000):
        x = (1.0, source.random())
        model.learn(x, (1.0 if turn < 1_000 else -1.0) * x[1])
    assert model.mean((1.0, 1.0)) == pytest.approx(-1.0, abs=0.1)


def test_exploration_keeps_to_its_budget_and_its_propensities_are_logged():
    policy = policy_that_prefers(SMALL, explore=0.01, window_us=200.0)
    serve(policy, length_us=150_000.0)
    assert 0 < policy.explored <= 0.02 * policy.windows
    assert {choice.propensity for choice in policy.log} - {1.0}
    assert all(0 < choice.propensity <= 1 for choice in policy.log)
    with pytest.raises(SchedulingError, match="explore"):
        LearnedConfig(explore=0.2)


def test_same_seed_gives_the_same_run_and_another_one_another():
    def used(seed):
        policy = LearnedPolicy(config=LearnedConfig(explore=0.05, window_us=500.0), seed=seed)
        serve(policy)
        return [(choice.window, choice.arm, choice.cost) for choice in policy.log]

    assert used(1) == used(1) != used(2)


def test_change_of_the_rate_forces_the_safe_tuning():
    policy = policy_that_prefers(SMALL, explore=0.0, hold_windows=3)
    of = serve(policy, gap_us=lambda now: 200.0 if now < 200_000 else 25.0)
    assert of.figures()["rate_changes"] >= 1
    assert policy.held >= 3
    assert policy.used[0] >= policy.held


def test_steady_stream_shows_no_change():
    for gap in (500.0, 40.0):
        of = serve(LearnedPolicy(), gap_us=lambda now, gap=gap: gap)
        assert of.figures()["rate_changes"] == 0


def test_small_batches_are_masked_where_they_cannot_carry_the_load():
    policy = policy_that_prefers(SMALL, explore=0.0, hold_windows=0)
    lines = {("cpu:0", "full"): (900.0, 1.0), ("cuda:0", "full"): (900.0, 1.0)}
    serve(policy, gap_us=lambda now: 0.7, length_us=60_000.0, lines=lines)
    assert policy.used[SMALL] <= 2


@pytest.mark.parametrize("arm", [WHOLE, SMALL])
def test_tuning_gives_way_to_the_safe_one_at_once_when_the_queue_is_old(arm):
    policy = policy_that_prefers(arm, explore=0.0, hold_windows=0)
    chosen, safe = scheduler(policy=policy), scheduler(policy=ExpectedCompletion(SAFE))
    for of in (chosen, safe):
        for _ in range(600):
            arrive(of, Priority.LIVE, 1, 0.0)
    assert chosen.next(0.0).counts != safe.next(0.0).counts
    assert policy.used[arm] == 1
    assert chosen.next(2_000.0).counts == safe.next(2_000.0).counts
    assert policy.used[arm] == 1  # within its window


def test_unit_is_kept_free_of_bulk_work_only_while_the_others_carry_it():
    few, many = (policy_that_prefers(LOW, explore=0.0, hold_windows=0) for _ in range(2))
    serve(few, bulk_every=60)
    serve(many, bulk_every=3, config=DynamicBatchConfig(deadlines_ms={Priority.BULK: 20.0}))
    assert few.used[LOW] > 0.6 * few.windows
    assert many.used[LOW] < 0.3 * many.windows


def test_it_switches_itself_off_where_it_does_worse_than_the_safe_tuning():
    # It is sure that the safe tuning costs far less than any does here, and that the small batches cost less still.
    policy = policy_that_prefers(SMALL, safe_cost=-9.0, explore=0.0, off_us=50_000.0)
    serve(policy)
    assert policy.switched_off >= 1
    assert policy.used[0] >= 10


def test_state_survives_json_and_serves_the_same():
    policy = policy_that_prefers(SMALL)
    stored = json.loads(json.dumps(policy.to_json()))
    again = LearnedPolicy.from_json(stored)
    assert again.arms == policy.arms
    context = tuple(0.3 for _ in FEATURES)
    for ours, theirs in zip(policy.models, again.models, strict=True):
        assert theirs.mean(context) == pytest.approx(ours.mean(context), abs=1e-3)
        assert theirs.deviation(context) == pytest.approx(ours.deviation(context), rel=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("arms"), "damaged"),
        (lambda state: state["features"].pop(), "other features"),
        (lambda state: state["arms"].pop(0), "safe one"),
        (lambda state: state["arms"][1]["model"]["weights"].pop(), "finite weights"),
        (lambda state: state["arms"][1]["model"]["weights"].__setitem__(0, float("nan")), "finite weights"),
        (lambda state: state["arms"][1]["model"].pop("inverse"), "damaged"),
        (lambda state: state["arms"][1]["tuning"].__setitem__("spill", 99), "spill"),
    ],
)
def test_damaged_state_is_refused(change, message):
    state = json.loads(json.dumps(LearnedPolicy().to_json()))
    change(state)
    with pytest.raises(SchedulingError, match=message):
        LearnedPolicy.from_json(state)


def test_memory_bandwidth_is_a_share_of_the_peak():
    of = serve(LearnedPolicy(), gap_us=lambda now: 50.0)
    reader = ContextReader(bytes_per_row=1_000.0, peak_bytes_per_us=100.0)
    context = dict(zip(FEATURES, reader.read(of._situation), strict=True))
    assert context["memory bandwidth"] == pytest.approx(1_000 / 50 / 100, rel=0.2)


def test_safe_tuning_is_the_first():
    assert ARMS[0] == SAFE


def test_delivered_policy_loads_and_serves():
    policy = trained_policy(LearnedConfig(explore=0.0))
    serve(policy, length_us=50_000.0)
    assert policy.arms == ARMS
    assert all(model.seen > 100 for model, arm in zip(policy.models, ARMS, strict=True) if not arm.wait_share)
    assert policy.windows >= 9
