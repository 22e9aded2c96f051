"""Totals of several real processes: they never fall, and nothing counts twice, however a process ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring import metrics_folder
from scoring.metrics_folder import MetricsFolder, add
from tests.product_source import ROOT

# Counts to 10,000 as fast as it can, and says each number once it has published it; ends when its input does.
COUNTING = """
import sys, threading
from pathlib import Path
from scoring.metrics_folder import MetricsFolder
folder = MetricsFolder(Path(sys.argv[1]), sys.argv[2], "layout")
more = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), more.set()), daemon=True).start()
for number in range(1, 10_001):
    folder.publish({"n": number, "by": {sys.argv[2]: [number, 1]}}, {"depth": number})
    print(number, flush=True)
    if more.wait(0.001):
        break
"""


class Counting:
    """One process that counts."""

    def __init__(self, directory: Path, name: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", COUNTING, str(directory), name],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout.readline() == "1\n"

    def kill(self) -> int:
        """End it at once and return the last number that it said."""
        self._process.send_signal(signal.SIGKILL)
        return self._last_said()

    def stop(self) -> int:
        """Let it end and return the last number that it said."""
        self._process.stdin.close()
        return self._last_said()

    def _last_said(self) -> int:
        said = self._process.stdout.read().split()
        self._process.wait(10)
        return int(said[-1]) if said else 1

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)
        self._process.stdin.close()
        self._process.stdout.close()


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[[str], Counting]]:
    started = []

    def begin(name: str) -> Counting:
        started.append(Counting(tmp_path, name))
        return started[-1]

    yield begin
    for process in started:
        process.close()


def test_totals_of_processes_that_come_and_are_killed_never_fall_nor_double(start, tmp_path):
    mine = MetricsFolder(tmp_path, "mine", "layout")
    mine.publish({"n": 5}, {"depth": 5})
    seen = [mine.totals().counters["n"]]

    def watch(seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            seen.append(mine.totals().counters["n"])

    first, second = start("first"), start("second")
    watch(0.4)
    assert set(mine.totals().gauges) == {"mine", "first", "second"}
    said = first.kill()
    watch(0.2)
    totals = mine.totals()
    assert set(totals.gauges) == {"mine", "second"}, "an ended process has no gauges"
    assert totals.counters["by"]["first"] in ([said, 1], [said + 1, 1]), "what it said, and no more than it published"
    third = start("third")
    watch(0.3)
    told = [second.stop(), third.kill()]
    watch(0.2)
    assert seen == sorted(seen), "a total fell"
    by = mine.totals().counters["by"]
    assert by["second"] == [told[0], 1]
    assert by["third"][0] - told[1] in (0, 1)
    assert mine.totals().counters["n"] == 5 + sum(numbers[0] for numbers in by.values())
    left = sorted(file.name for file in tmp_path.iterdir() if file.suffix != ".part")
    assert len(left) == 4, f"my two files, the base and the lock: {left}"


def test_whoever_is_asked_says_the_same(tmp_path):
    folders = [MetricsFolder(tmp_path, f"p{i}", "layout") for i in range(3)]
    for i, folder in enumerate(folders):
        folder.publish({"n": 10**i, "buckets": [i, 1]}, {"depth": i})
    answers = [folder.totals() for folder in folders]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0].counters == {"n": 111, "buckets": [3, 3]}
    assert answers[0].gauges == {"p0": {"depth": 0}, "p1": {"depth": 1}, "p2": {"depth": 2}}


def test_a_crash_while_the_ended_are_moved_counts_nothing_twice(tmp_path, monkeypatch):
    ended, mine = MetricsFolder(tmp_path, "ended", "layout"), MetricsFolder(tmp_path, "mine", "layout")
    ended.publish({"n": 7}, {})
    mine.publish({"n": 1}, {})
    ended.close()
    with monkeypatch.context() as crash:
        crash.setattr(Path, "unlink", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            mine.totals()
    assert json.loads((tmp_path / "base.json").read_text())["counters"] == {"n": 7}
    for _ in range(3):
        assert mine.totals().counters == {"n": 8}
    late = MetricsFolder(tmp_path, "late", "layout")
    late.publish({"n": 100}, {})
    late.close()
    assert mine.totals().counters == {"n": 108} == mine.totals().counters


def test_a_process_that_hangs_keeps_its_counters_and_loses_its_gauges(tmp_path, monkeypatch):
    hanging, mine = MetricsFolder(tmp_path, "hanging", "layout"), MetricsFolder(tmp_path, "mine", "layout")
    hanging.publish({"n": 7}, {"depth": 3})
    monkeypatch.setattr(metrics_folder, "FRESH_SECONDS", 0.05)
    time.sleep(0.1)
    mine.publish({"n": 1}, {"depth": 1})
    totals = mine.totals()
    assert totals.counters == {"n": 8} and totals.gauges == {"mine": {"depth": 1}}


def test_numbers_of_another_shape_are_left_out(tmp_path):
    other, mine = MetricsFolder(tmp_path, "other", "older layout"), MetricsFolder(tmp_path, "mine", "layout")
    other.publish({"n": 7, "buckets": [1, 2, 3]}, {})
    mine.publish({"n": 1, "buckets": [1, 2]}, {})
    assert mine.totals().counters == {"n": 1, "buckets": [1, 2]}
    other.close()
    assert mine.totals().counters == {"n": 1, "buckets": [1, 2]}


def test_a_file_that_was_torn_by_a_power_loss_is_named_and_left_out(tmp_path, caplog):
    torn, mine = MetricsFolder(tmp_path, "torn", "layout"), MetricsFolder(tmp_path, "mine", "layout")
    torn.publish({"n": 7}, {})
    (file,) = tmp_path.glob("*.json")
    file.write_bytes(b"")
    torn.close()
    mine.publish({"n": 1}, {})
    assert mine.totals().counters == {"n": 1}
    assert str(file) in caplog.text
    assert not file.exists()


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.tuples(st.integers(0, 9), st.integers(0, 9)).map(list)), max_size=5))
def test_adding_is_adding_each_number_in_any_order(parts):
    total: dict = {}
    for part in parts:
        total = add(total, part)
    backwards: dict = {}
    for part in reversed(parts):
        backwards = add(backwards, part)
    assert total == backwards
    for key in total:
        assert total[key] == [sum(part[key][i] for part in parts if key in part) for i in range(2)]
