"""The disk watch and the clock watch; one test fills a real, small volume where this process may mount one."""

from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path

import pytest

from scoring.errors import StorageFull
from scoring.protection import clock_watch, disk_watch
from scoring.protection.clock_watch import ClockWatch
from scoring.protection.disk_watch import DiskWatch, Space, space_of
from tests.scoring.protection.clocks import Clock

MIB = 1 << 20


class Volume:
    """A volume whose free space a test sets."""

    def __init__(self, free: int, total: int = 1000 * MIB) -> None:
        self.free, self.total, self.looks = free, total, 0

    def __call__(self, path: Path) -> Space:
        self.looks += 1
        if self.free < 0:
            raise OSError("gone")
        return Space(self.total, self.free)


def watch_of(volume: Volume, tmp_path: Path) -> tuple[DiskWatch, Clock]:
    clock = Clock()
    return DiskWatch([tmp_path], 100 * MIB, clock=clock, measure=volume), clock


def look(watch: DiskWatch, clock: Clock) -> DiskWatch:
    clock.pass_(1.0)
    watch.look()
    return watch


def test_writes_are_refused_below_the_floor_and_taken_again_well_above_it(tmp_path, caplog):
    volume = Volume(101 * MIB)
    watch, clock = watch_of(volume, tmp_path)
    look(watch, clock).refuse_if_full()
    volume.free = 99 * MIB
    with caplog.at_level(logging.ERROR, logger=disk_watch.__name__):
        look(look(watch, clock), clock)
    assert len(caplog.records) == 1 and str(tmp_path) in caplog.records[0].getMessage()
    with pytest.raises(StorageFull, match="disk is nearly full") as refused:
        watch.refuse_if_full()
    assert refused.value.status == 503 and refused.value.headers == {"Retry-After": "30"}
    volume.free = 150 * MIB
    assert look(watch, clock).full, "at the edge it would flicker"
    volume.free = 201 * MIB
    look(watch, clock).refuse_if_full()


def test_the_alarm_comes_before_the_floor(tmp_path):
    volume = Volume(201 * MIB)
    watch, clock = watch_of(volume, tmp_path)
    assert not look(watch, clock).is_alarming
    volume.free = 199 * MIB
    assert look(watch, clock).is_alarming and not watch.full


def test_it_measures_once_a_second(tmp_path):
    volume = Volume(500 * MIB)
    watch, clock = watch_of(volume, tmp_path)
    for _ in range(100):
        clock.pass_(0.05)
        watch.look()
    assert 4 <= volume.looks <= 6


def test_a_volume_that_cannot_be_measured_counts_as_it_was(tmp_path, caplog):
    volume = Volume(10 * MIB)
    watch, clock = watch_of(volume, tmp_path)
    assert look(watch, clock).full
    volume.free = -1
    with caplog.at_level(logging.ERROR, logger=disk_watch.__name__):
        assert look(watch, clock).full
    assert "cannot be told" in caplog.text


def test_paths_of_one_volume_count_once(tmp_path):
    (tmp_path / "a").mkdir()
    volume = Volume(500 * MIB)
    DiskWatch([tmp_path, tmp_path / "a", tmp_path], 1, clock=Clock(), measure=volume).look()
    assert volume.looks == 1


def test_the_real_space_is_that_of_the_system(tmp_path):
    said = space_of(tmp_path)
    shown = os.statvfs(tmp_path)
    assert 0 < said.free <= said.total <= shown.f_blocks * shown.f_frsize
    assert 0 <= said.used_share <= 1


def test_a_real_volume_that_fills_up(tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(tmp_path)], capture_output=True)
    if mounted.returncode != 0:
        # No right to mount: the same path through a real directory, whose floor is then moved instead of its contents.
        watch = DiskWatch([tmp_path], space_of(tmp_path).free * 2, clock=Clock())
        watch.look()
        assert watch.full == str(tmp_path)
        return
    try:
        clock = Clock()
        watch = DiskWatch([tmp_path], 2 * MIB, clock=clock)
        look(watch, clock).refuse_if_full()
        (tmp_path / "filling").write_bytes(bytes(7 * MIB))
        with pytest.raises(StorageFull):
            look(watch, clock).refuse_if_full()
        assert watch.is_alarming
        (tmp_path / "filling").unlink()
        look(watch, clock).refuse_if_full()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.fixture
def clocks() -> tuple[Clock, Clock]:
    return Clock(1_800_000_000.0), Clock(50.0)


def both_pass(clocks, seconds: float, wall: float | None = None) -> None:
    clocks[0].pass_(seconds if wall is None else wall)
    clocks[1].pass_(seconds)


@pytest.mark.parametrize("step", [3600.0, -3600.0, 0.6, -0.6])
def test_a_step_is_noticed_stamped_for_a_time_and_said(clocks, step, caplog):
    watch = ClockWatch(wall=clocks[0], clock=clocks[1])
    both_pass(clocks, 1.0)
    watch.look()
    assert not watch.has_stepped
    clocks[0].pass_(step)
    both_pass(clocks, 1.0)
    with caplog.at_level(logging.ERROR, logger=clock_watch.__name__):
        watch.look()
    assert watch.has_stepped and watch.steps == 1 and watch.last_step_seconds == pytest.approx(step)
    assert f"{step:+.3f}" in caplog.text
    for _ in range(59):
        both_pass(clocks, 1.0)
        watch.look()
    assert watch.has_stepped and watch.steps == 1
    both_pass(clocks, 1.0)
    assert not watch.has_stepped


def test_a_slow_correction_is_no_step(clocks):
    watch = ClockWatch(wall=clocks[0], clock=clocks[1])
    for _ in range(10_000):
        both_pass(clocks, 1.0, wall=1.0005)  # NTP's fastest slew
        watch.look()
    assert watch.steps == 0 and not watch.has_stepped


def test_a_long_wait_between_two_looks_is_no_step(clocks):
    watch = ClockWatch(wall=clocks[0], clock=clocks[1])
    both_pass(clocks, 7200.0)
    watch.look()
    assert watch.steps == 0
