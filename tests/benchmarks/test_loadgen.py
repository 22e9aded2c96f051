"""The load generator, against a server that answers what the test knows."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks.loopback_server import DELAY_S, SERVICE_S, LoopbackServer, loopback_server
from tests.benchmarks.serving.generator import (
    Load,
    LoadGeneratorError,
    LoadResult,
    build_generator,
    load_running,
    read_ledger,
    run_load,
)
from tests.servers.process import free_port

pytestmark = pytest.mark.needs_compiler


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_generator(tmp_path_factory.mktemp("loadgen"))


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with loopback_server() as running:
        yield running


@pytest.fixture
def bodies(tmp_path: Path) -> Path:
    file = tmp_path / "bodies.txt"
    file.write_text("".join(f'{{"number":{i}}}\n' for i in range(2000)))
    return file


def send(generator: Path, server: LoopbackServer, bodies: Path, path: str = "/ok", **options: object) -> LoadResult:
    return run_load(generator, Load(**{"port": server.port, "path": path, "bodies": bodies, "seconds": 5.0} | options))


def test_each_body_is_sent_once_and_as_it_is(generator, server, bodies):
    result = send(generator, server, bodies, connections=7)
    assert (result.sent, result.acknowledged, result.statuses) == (2000, 2000, {"200": 2000})
    assert result.bodies_exhausted and result.failures == 0
    assert sorted(server.bodies) == sorted(bodies.read_bytes().splitlines())
    assert server.connections == 7  # kept alive


def test_request_bound_ends_the_run(generator, server, bodies):
    result = send(generator, server, bodies, requests=25, connections=2)
    assert (result.sent, len(server.bodies), result.bodies_exhausted) == (25, 25, False)


def test_time_bound_ends_the_run_and_the_rate_is_of_the_window(generator, server, bodies):
    result = send(generator, server, bodies, "/delayed", seconds=0.5, warmup_s=0.2, connections=4)
    assert result.window_s == pytest.approx(0.5, abs=0.001)
    assert result.rate_per_s == pytest.approx(result.in_window / result.window_s, rel=1e-3)
    assert result.in_window < result.acknowledged == result.sent == len(server.bodies)
    # Four connections with an answer each 50 ms at best.
    assert 20 < result.rate_per_s <= 4 / DELAY_S + 8


def test_bodies_repeat_only_when_asked(generator, server, tmp_path):
    three = tmp_path / "three.txt"
    three.write_text("a\nb\nc\n")
    assert send(generator, server, three, connections=1).sent == 3
    assert send(generator, server, three, connections=1, repeat=True, requests=7).sent == 7
    assert server.bodies[3:] == [b"a", b"b", b"c", b"a", b"b", b"c", b"a"]


def test_framed_bodies_may_hold_new_lines(generator, server, tmp_path):
    texts = [b'{"a":1}\n{"a":2}\n', b"x" * 300_000, b""]
    framed = tmp_path / "framed.bin"
    framed.write_bytes(b"".join(len(text).to_bytes(4, "little") + text for text in texts))
    send(generator, server, framed, framed=True, connections=1, content_type="application/x-ndjson")
    assert server.bodies == texts
    assert b"Content-Type: application/x-ndjson\r\n" in server.headers


def test_headers_of_the_file_are_sent(generator, server, bodies, tmp_path):
    headers = tmp_path / "headers"
    headers.write_text("Authorization: Bearer of good news\nX-Two: 2\n")
    send(generator, server, bodies, requests=1, headers=headers)
    assert b"\r\nAuthorization: Bearer of good news\r\nX-Two: 2\r\n" in server.headers


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        ("/chunked", {"201": 50}),
        ("/interim", {"200": 50}),
        ("/empty", {"204": 50}),
        ("/closing", {"200": 50}),
        ("/until-close", {"200": 50}),
    ],
)
def test_every_kind_of_answer_is_read_to_its_end(generator, server, bodies, path, statuses):
    result = send(generator, server, bodies, path, requests=50, connections=3)
    assert (result.statuses, result.failures) == (statuses, 0)


def test_answers_that_are_not_2xx_are_counted(generator, server, bodies):
    result = send(generator, server, bodies, "/busy", requests=40)
    assert (result.acknowledged, result.non_2xx, result.statuses, result.failures) == (40, 40, {"503": 40}, 40)


@pytest.mark.parametrize(("path", "counter"), [("/cut-off", "disconnects"), ("/nonsense", "malformed")])
def test_broken_answers_are_not_acknowledged(generator, server, bodies, path, counter):
    result = send(generator, server, bodies, path, requests=10, connections=2)
    assert (result.acknowledged, getattr(result, counter), result.failures) == (0, 10, 10)


def test_missing_answers_time_out_and_count_with_their_wait(generator, server, bodies):
    result = send(generator, server, bodies, "/silent", requests=3, timeout_s=0.2)
    assert (result.acknowledged, result.timeouts + result.unfinished) == (0, 3)
    assert result.latency_ms.count == 3 and result.latency_ms.p50 >= 199


def test_closed_loop_latency_holds_the_servers_delay(generator, server, bodies):
    result = send(generator, server, bodies, "/delayed", seconds=0.6, connections=4)
    latency = result.latency_ms
    assert 1000 * DELAY_S - 1 <= latency.p50 < 1000 * DELAY_S + 150
    assert latency.p50 <= latency.p90 <= latency.p99 <= latency.p99_9 <= latency.max


@pytest.mark.parametrize("arrivals", ["poisson", "constant"])
def test_open_loop_keeps_the_offered_rate(generator, server, bodies, arrivals):
    result = send(generator, server, bodies, rate_per_s=300, arrivals=arrivals, seconds=1.0)
    # Five standard deviations of a Poisson count; a constant rate misses by one at most.
    assert result.sent == pytest.approx(300, abs=1 if arrivals == "constant" else 87)
    assert result.acknowledged == result.sent == len(server.bodies) and result.is_sustained


def test_the_seed_decides_the_arrivals(generator, server, bodies):
    def arrivals(seed: int) -> int:
        result = send(generator, server, bodies, rate_per_s=300, seconds=0.3, seed=seed)
        return result.sent + result.unsent  # on a busy machine the last of them may come too late to be sent

    # The last arrivals of a run that a busy machine ends late may be missing: one of three pairs must agree.
    assert all(any(arrivals(seed) == arrivals(seed) for _ in range(3)) for seed in (1, 2))


def test_open_loop_counts_the_wait_behind_slow_answers(generator, server, bodies):
    """Twice the load that the server takes: each answer takes 10 ms, the queue grows to half of the run."""
    options = {"seconds": 1.0, "connections": 1}
    closed = send(generator, server, bodies, "/one-at-a-time", **options)
    opened = send(generator, server, bodies, "/one-at-a-time", rate_per_s=2 / SERVICE_S, arrivals="constant", **options)
    assert closed.latency_ms.p50 < 100
    assert opened.latency_ms.max > 700 and opened.latency_ms.p50 > 300
    assert opened.send_delay_ms.max > 700
    assert not opened.is_sustained


def test_the_rate_may_change_after_the_window_which_alone_is_measured(generator, server, bodies):
    options = {"rate_per_s": 400, "arrivals": "constant", "then_rate_per_s": 100, "then_seconds": 1.0, "windows": True}
    result = send(generator, server, bodies, seconds=1.0, **options)
    assert result.sent == pytest.approx(500, abs=2) and result.window_s == pytest.approx(1.0, abs=0.001)
    assert result.latency_ms.count == result.ok_latency_ms.count == pytest.approx(400, abs=1)
    assert sum(w.ok for w in result.windows if round(w.to_s, 1) == 1.0) == result.ok_in_window
    assert all(w.other == w.lost == 0 for w in result.windows)


def test_answers_with_and_without_2xx_are_measured_apart(generator, server, bodies):
    refused = send(generator, server, bodies, "/busy", requests=40)
    answered = send(generator, server, bodies, requests=40)
    assert (refused.ok_service_ms, refused.refused_service_ms.count, refused.ok_in_window) == (None, 40, 0)
    assert (answered.ok_service_ms.count, answered.refused_service_ms, answered.ok_in_window) == (40, None, 40)


def test_requests_that_wait_too_long_for_a_connection_are_never_sent(generator, server, bodies):
    options = {"rate_per_s": 4 / SERVICE_S, "abandon_ms": 50, "seconds": 0.5, "connections": 1}
    result = send(generator, server, bodies, "/one-at-a-time", **options)
    assert result.abandoned > 20 and result.acknowledged == result.sent == len(server.bodies)
    # What is sent has waited 50 ms at most, and a turn of the generator's loop.
    assert result.latency_ms.count == result.sent + result.abandoned + result.unsent
    assert sorted(server.bodies) == sorted(bodies.read_bytes().splitlines()[: result.sent])


def test_a_ledger_at_the_end_holds_the_same(generator, server, bodies, tmp_path):
    send(generator, server, bodies, requests=100, connections=5, ledger=tmp_path / "ledger", ledger_at_end=True)
    assert sorted(read_ledger(tmp_path / "ledger")) == [(i, 200) for i in range(100)]


def test_arrivals_that_never_got_a_connection_count_too(generator, server, bodies):
    result = send(generator, server, bodies, "/silent", rate_per_s=100, seconds=0.3, timeout_s=0.3, connections=1)
    assert result.acknowledged == 0 and result.unsent > 10
    assert result.latency_ms.count == result.timeouts + result.unfinished + result.unsent


def test_the_ledger_names_the_acknowledged_requests(generator, server, bodies, tmp_path):
    ledger = tmp_path / "ledger"
    send(generator, server, bodies, requests=100, connections=5, ledger=ledger)
    send(generator, server, bodies, "/busy", requests=2, connections=1, ledger=ledger)
    send(generator, server, bodies, "/cut-off", requests=2, connections=1, ledger=ledger)
    records = read_ledger(ledger)
    assert sorted(records[:100]) == [(i, 200) for i in range(100)]
    assert records[100:] == [(0, 503), (1, 503)]


def test_a_torn_ledger_record_is_not_read(tmp_path):
    ledger = tmp_path / "ledger"
    ledger.write_text("0 200\n12 20")
    assert read_ledger(ledger) == [(0, 200)]


def test_an_interrupt_ends_the_run_with_a_report(generator, server, bodies):
    load = Load(port=server.port, path="/ok", bodies=bodies, seconds=60, rate_per_s=50)
    with load_running(generator, load) as running:
        while not server.bodies:
            time.sleep(0.01)
        running.interrupt()
        result = running.result()
    assert result.interrupted and result.acknowledged == result.sent > 0
    assert result.window_s < 30


def test_a_load_never_outlives_its_block(generator, server, bodies):
    with load_running(generator, Load(port=server.port, path="/silent", bodies=bodies, seconds=60)) as running:
        pid = running.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIG_DFL)


def test_a_dead_server_ends_the_run(generator, bodies):
    load = Load(port=free_port(), path="/ok", bodies=bodies, seconds=60, connections=3, reconnect_s=0.2)
    result = run_load(generator, load)
    assert result.gave_up and result.connect_errors > 3 and (result.sent, result.unfinished) == (0, 3)


@pytest.mark.parametrize("host", ["10.0.0.1", "0.0.0.0", "localhost.example", "128.0.0.1", "::1"])
def test_other_machines_are_refused(generator, bodies, host):
    with pytest.raises(LoadGeneratorError, match="loopback"):
        run_load(generator, Load(host=host, port=80, path="/ok", bodies=bodies, seconds=0.1))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"path": "ok"}, "--path"),
        ({"path": "/a b"}, "--path"),
        ({"seconds": 0}, "--seconds"),
        ({"connections": 0}, "--connections"),
        ({"rate_per_s": float("nan")}, "--rate"),
        ({"arrivals": "bursty"}, "--arrivals"),
        ({"then_seconds": 1.0}, "--then-seconds"),
        ({"abandon_ms": 5.0}, "--abandon-ms"),
    ],
)
def test_wrong_options_are_refused_by_name(generator, server, bodies, options, complaint):
    with pytest.raises(LoadGeneratorError, match=complaint):
        send(generator, server, bodies, **options)


@pytest.mark.parametrize("line", ["no colon", "Content-Length: 1", "Host: elsewhere"])
def test_headers_that_break_the_request_are_refused(generator, server, bodies, tmp_path, line):
    headers = tmp_path / "headers"
    headers.write_text(line + "\n")
    with pytest.raises(LoadGeneratorError, match="headers file"):
        send(generator, server, bodies, headers=headers)


def test_a_file_without_bodies_is_refused(generator, server, tmp_path):
    empty = tmp_path / "empty"
    empty.write_text("\n\n")
    with pytest.raises(LoadGeneratorError, match="holds no body"):
        send(generator, server, empty)


def test_no_compiler_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LoadGeneratorError, match="no C compiler"):
        build_generator(tmp_path)
