"""What bench-serving concludes from what it measured."""

from __future__ import annotations

from types import SimpleNamespace

from tests.benchmarks.serving.generator import Window
from tests.benchmarks.serving.measure import recovery_s
from tests.benchmarks.serving.storage import Storage, compare


def test_lost_and_doubled_transactions_are_found_by_id():
    stored = ["b-0", "b-1", "b-2", "b-2", "b-6"]
    assert compare("b", 1, [0, 1, 2], stored) == Storage(3, 0, 1)
    assert compare("b", 2, [0, 1, 3], stored) == Storage(6, 2, 1)  # 3 and 7 are missing
    assert compare("b", 1, [], []) == Storage(0, 0, 0)


def recovery_of(*windows: tuple[float, int, int, float]) -> float | None:
    made = tuple(Window(to_s, ok, other, 0, p99, p99) for to_s, ok, other, p99 in windows)
    return recovery_s(SimpleNamespace(window_s=10.0, windows=made))


def test_recovery_is_the_end_of_the_first_good_second_after_the_drop():
    assert recovery_of((9.0, 5, 0, 1.0), (10.5, 5, 0, 1.0), (11.0, 5, 0, 1.0)) == 1.0
    assert recovery_of((11.0, 5, 1, 1.0), (11.1, 5, 0, 30.0), (11.2, 0, 0, 0.0), (11.3, 5, 0, 19.0)) == 1.3
    assert recovery_of((9.0, 5, 0, 1.0), (11.0, 5, 0, 20.0)) is None
