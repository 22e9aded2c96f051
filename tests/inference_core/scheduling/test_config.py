"""DynamicBatchConfig refuses what cannot be meant, by field and with the remedy."""

import pytest

from inference_core.errors import SchedulingError
from inference_core.scheduling import DynamicBatchConfig, Priority


def test_deadlines_of_classes_not_named_are_the_defaults():
    config = DynamicBatchConfig(deadlines_ms={Priority.LIVE: 50})
    assert (config.deadline_us(Priority.LIVE), config.deadline_us(Priority.BULK)) == (50_000, 5_000_000)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target_latency_ms", 0), ("target_latency_ms", float("nan")), ("target_latency_ms", "5"), ("target_latency_ms", True),
        ("max_batch_size", 0), ("max_batch_size", 2.5), ("max_batch_size", 1 << 21),
        ("max_queue_delay_us", -1), ("max_queue_delay_us", 2_501),
        ("deadlines_ms", {Priority.LIVE: 1}), ("deadlines_ms", {Priority.LIVE: float("inf")}), ("deadlines_ms", {7: 100}),
        ("deadlines_ms", 100), ("live_share", 1.0), ("live_share", -0.1), ("burst_wait_us", -1),
    ],
)  # fmt: skip
def test_wrong_value_is_refused_by_its_field(field, value):
    with pytest.raises(SchedulingError, match=field):
        DynamicBatchConfig(**{field: value})


def test_limits_themselves_are_taken():
    DynamicBatchConfig(5.0, 1, 2_500, {Priority.LIVE: 5.0}, 0.0)
