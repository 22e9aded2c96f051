"""The parts that the benchmarks beside other engines share."""

from __future__ import annotations

import itertools
import time
from types import SimpleNamespace

import numpy as np
import pytest

from tests.benchmarks import peers
from tests.benchmarks.side_by_side.engines import Engine, LeftOut, Lineup, Way, open_engines
from tests.benchmarks.side_by_side.environment import CpuWatch, noise_note, stamp
from tests.benchmarks.side_by_side.tables import lineup_notes, number, table
from tests.benchmarks.side_by_side.timing import (
    BLOCK,
    TRIAL_ROWS,
    fastest_way,
    latencies,
    percentiles_us,
    rate_summary,
    rates,
    results_of,
)


def engine_of(name: str, *makes, threads: int = 1, **more) -> Engine:
    return Engine(name, "1", {threads: tuple(Way(f"way {i}", make) for i, make in enumerate(makes))}, **more)


def test_percentiles_are_those_of_the_sample_in_microseconds():
    figures = percentiles_us(np.arange(1, 1002) * 1000)
    assert figures == {"calls": 1001, "p50_us": 501.0, "p99_us": 991.0, "p999_us": 1000.0}


def test_rates_tell_median_and_best():
    assert rate_summary([10.0, 30.0, 20.0]) == {"rounds": 3, "median_rows_per_s": 20, "best_rows_per_s": 30}


def test_the_fastest_way_that_works_is_taken():
    def broken(x):
        raise ValueError("no such interface")

    slow = Way("slow", lambda x: lambda: time.sleep(0.02))
    quick = Way("quick", lambda x: lambda: x)
    way, call, _ = fastest_way((Way("broken", broken), slow, quick), 7)
    assert (way.setting, call()) == ("quick", 7)
    with pytest.raises(ValueError, match="no such interface"):
        fastest_way((Way("broken", broken),), 7)


def test_engines_take_turns():
    order: list[str] = []
    lineup = Lineup({name: engine_of(name, lambda x, name=name: lambda: order.append(name)) for name in "ab"})
    timed = latencies(lineup, rows=[1, 2, 3], calls=2 * BLOCK, seconds=60)
    assert [len(one.ns) for one in timed.values()] == [2, 2]
    assert [name for name, _ in itertools.groupby(order)][-4:] == ["a", "b", "a", "b"]
    assert results_of(timed)["a"]["calls"] == 2 * BLOCK


def test_a_slow_engine_stops_when_its_time_is_used_up_and_says_how_many_calls_it_made():
    lineup = Lineup({"slow": engine_of("slow", lambda x: lambda: time.sleep(0.002))})
    calls = results_of(latencies(lineup, rows=[1], calls=10_000, seconds=0.1))["slow"]["calls"]
    assert 1 <= calls <= 50


def test_a_batch_that_fails_is_named_and_the_others_go_on():
    def fails(x):
        raise RuntimeError("out of luck")

    lineup = Lineup({"bad": engine_of("bad", fails), "good": engine_of("good", lambda x: lambda: x)})
    figures = results_of(rates(lineup, np.zeros((30, 2)), threads=1, rounds=3, seconds=1.0))
    assert figures["good"]["rounds"] == 3 and figures["good"]["rows_timed"] == 30
    assert [(f.name, f.error) for f in lineup.failed] == [("bad", "RuntimeError: out of luck")]


def test_an_engine_that_goes_row_by_row_gets_fewer_rows():
    lineup = Lineup({"rows": engine_of("rows", lambda x: lambda: len(x), most_rows=10)})
    assert results_of(rates(lineup, np.zeros((30, 2)), threads=1, rounds=1, seconds=1.0))["rows"]["rows_timed"] == 10


def test_the_way_that_is_fastest_on_the_whole_batch_is_taken():
    def costly_start(x):
        return lambda: time.sleep(0.005)

    def costly_rows(x):
        return lambda: time.sleep(len(x) * 1e-6 / 4)

    lineup = Lineup({"two": engine_of("two", costly_rows, costly_start)})
    short, long = np.zeros(TRIAL_ROWS), np.zeros(20 * TRIAL_ROWS)
    taken = [results_of(rates(lineup, data, 1, rounds=1, seconds=1.0))["two"]["setting"] for data in (short, long)]
    assert taken == ["way 0", "way 1"]


def test_an_engine_is_told_its_threads_before_each_turn():
    told: list[int] = []
    engine = engine_of("told", lambda x: lambda: None, threads=2, enter=told.append)
    rates(Lineup({"told": engine}), np.zeros((3, 1)), threads=2, rounds=2, seconds=1.0)
    assert told == [2, 2, 2]


def test_peers_that_fail_or_are_left_out_are_named():
    def missing(case):
        raise ModuleNotFoundError("No module named 'nosuch'")

    def long(case):
        raise LeftOut("takes minutes")

    lineup = open_engines((("a", missing), ("b", long), ("c", lambda case: engine_of("c", case))), lambda x: lambda: x)
    assert list(lineup.engines) == ["c"]
    notes = lineup_notes(lineup.to_json())
    assert "FAILED: a (open): ModuleNotFoundError: No module named 'nosuch'" in notes and "left out: b: takes minutes" in notes


def test_a_peer_that_does_not_install_does_not_stop_the_others():
    def pip(command, **_):
        broken = any(part.startswith("lleaves") for part in command)
        return SimpleNamespace(returncode=int(broken), stderr="first\nNo matching distribution" if broken else "")

    assert peers.install(["numpy==2.4.6", "lleaves==1.3.0"], run=pip) == {"lleaves": "first\nNo matching distribution"}


def test_failed_installs_are_read_from_the_environment(tmp_path):
    assert peers.failed_installs(tmp_path) == {}
    (tmp_path / peers.FAILED_FILE).write_text('{"lleaves": "no wheel"}')
    assert peers.failed_installs(tmp_path) == {"lleaves": "no wheel"}


def test_every_peer_is_pinned_with_a_reason_and_in_the_products_version():
    lines = [line for line in peers.LIST.read_text().splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if "==" not in line or "  # " not in line] == []
    product = dict(line.split("==") for line in peers.CONSTRAINTS.read_text().splitlines() if "==" in line)
    product = {name.lower(): version for name, version in product.items()}
    pinned = dict(one.split("==") for one in peers.requirements("\n".join(lines)))
    assert {name: version for name, version in pinned.items() if product.get(name, version) != version} == {}


def test_the_stamp_says_what_places_a_figure():
    facts = stamp(["python", "-m", "tests.benchmarks.forest", "--only", "a b"])
    assert facts["command"] == "python -m tests.benchmarks.forest --only 'a b'"
    assert set(facts) >= {"cpu", "cores", "cpu_features", "memory_gib", "kernel", "python", "packages", "commit", "date"}
    assert facts["packages"]["numpy"] == np.__version__ and facts["cores"] >= 1


def test_own_work_is_not_counted_as_that_of_others():
    watch = CpuWatch()
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        pass
    before, now = watch._started, watch._times()
    if before is None or now is None:
        pytest.skip("no /proc/stat")
    assert now[2] - before[2] > 0.05
    assert (watch.other_cores() or 0.0) <= (now[1] - before[1]) / (now[0] - before[0])


def test_a_busy_machine_is_said():
    assert noise_note(1.5).startswith("NOISY RUN") and "0.05" in noise_note(0.05) and "not known" in noise_note(None)


def test_tables_escape_what_would_break_them():
    assert table(("a", "b"), [("x|y", "1\n2")]) == "| a | b |\n| --- | --- |\n| x\\|y | 1 2 |"
    assert [number(v) for v in (None, 1234.5, 12.34, 1.234)] == ["-", "1,234", "12.3", "1.23"]
