"""Off-policy estimates find the true cost of a policy that never served."""

import random

import pytest

from inference_core.errors import SchedulingError
from inference_core.scheduling.learned import Choice
from inference_core.scheduling.off_policy import doubly_robust, inverse_propensity

TRUE = ({False: 1.0, True: 4.0}, {False: 3.0, True: 2.0})  # cost of each tuning by context


def logged(windows, explore=0.2, seed=1):
    """Return windows of a policy that mostly chooses tuning 0."""
    source, log = random.Random(seed), []
    for number in range(windows):
        busy = source.random() < 0.5
        arm = source.randrange(2) if source.random() < explore else 0
        propensity = explore / 2 + (1 - explore if arm == 0 else 0)
        log.append(Choice(number, (1.0, float(busy)), arm, propensity, TRUE[arm][busy] + source.gauss(0, 0.5)))
    return log


def best(context):
    return (0.0, 1.0) if context[1] else (1.0, 0.0)


def predicted_right(context, arm):
    return TRUE[arm][bool(context[1])]


def predicted_wrong(context, arm):
    return 10.0


@pytest.mark.parametrize(
    "estimate",
    [
        lambda log: inverse_propensity(log, best),
        lambda log: doubly_robust(log, best, predicted_right),
        lambda log: doubly_robust(log, best, predicted_wrong),
    ],
)
def test_cost_of_a_policy_that_never_served_is_found(estimate):
    of = estimate(logged(8_000))
    assert of.cost == pytest.approx(1.5, abs=4 * of.standard_error)
    assert of.standard_error < 0.3
    assert of.effective_windows < 8_000


def test_right_prediction_makes_the_estimate_sharper():
    log = logged(4_000)
    right, wrong = (doubly_robust(log, best, predicted) for predicted in (predicted_right, predicted_wrong))
    assert right.standard_error < 0.5 * wrong.standard_error


def test_policy_that_served_is_estimated_by_its_plain_mean():
    log = logged(2_000, explore=1.0)
    of = inverse_propensity(log, lambda context: (0.5, 0.5))
    assert of.cost == pytest.approx(sum(choice.cost for choice in log) / len(log))
    assert of.effective_windows == pytest.approx(2_000)


def test_log_that_tells_nothing_is_refused():
    with pytest.raises(SchedulingError, match="no logged window"):
        inverse_propensity([], best)
    with pytest.raises(SchedulingError, match="no logged window"):
        inverse_propensity([Choice(0, (1.0, 0.0), 0, 1.0, 1.0)], lambda context: (0.0, 1.0))
    with pytest.raises(SchedulingError, match="propensity"):
        inverse_propensity([Choice(0, (1.0, 0.0), 0, 0.0, 1.0)], best)
