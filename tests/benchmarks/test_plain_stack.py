"""The plain stack decides and stores, and its server starts, dies and stops as the tests and the benchmark need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.benchmarks.serving import payloads
from tests.benchmarks.serving.generator import Load, build_generator, run_load
from tests.benchmarks.serving.plain_stack.server import PATH, GunicornWorkers, PlainInstallation, plain_server, prepare_plain
from tests.benchmarks.serving.processes import WebServer, running

pytestmark = pytest.mark.needs_compiler


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> PlainInstallation:
    return prepare_plain(tmp_path_factory.mktemp("plain") / "data", features=40, trees=5)


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_generator(tmp_path_factory.mktemp("loadgen"))


@pytest.fixture(scope="module")
def server(installation: PlainInstallation) -> Iterator[WebServer]:
    with running(plain_server(installation, GunicornWorkers("sync", 2))) as server:
        yield server


def send(generator: Path, server: WebServer, directory: Path, api_key: str, prefix: str) -> dict[str, int]:
    bodies, headers = directory / "bodies", directory / "headers"
    payloads.write_singles(bodies, payloads.make_population(), count=30, prefix=prefix)
    headers.write_text(f"Authorization: Bearer {api_key}\n")
    load = Load(port=server.port, path=PATH, bodies=bodies, seconds=20, connections=3, headers=headers)
    return run_load(generator, load).statuses


def test_each_transaction_is_decided_and_stored_once(generator, server, installation, tmp_path):
    assert send(generator, server, tmp_path, installation.api_key, "once") == {"200": 30}
    assert installation.stored("once") == 30
    assert send(generator, server, tmp_path, installation.api_key, "once") == {"409": 30}
    assert installation.stored("once") == 30


def test_a_wrong_key_is_refused(generator, server, installation, tmp_path):
    assert send(generator, server, tmp_path, "wrong", "refused") == {"403": 30}
    assert installation.stored("refused") == 0


def test_a_killed_server_comes_back_on_its_port(generator, server, installation, tmp_path):
    port, workers = server.port, psutil.Process(server.pid).children()
    server.kill()
    assert not any(worker.is_running() for worker in workers)
    server.start()
    assert server.port == port
    assert send(generator, server, tmp_path, installation.api_key, "again") == {"200": 30}


def test_stopping_leaves_no_process(installation):
    with running(plain_server(installation, GunicornWorkers("gthread", 2, 2))) as server:
        processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        # The second worker may still be on its way when the first one answers.
        assert len(processes) >= 2 and server.cpu_seconds() > 0
    assert not any(process.is_running() for process in processes)
    assert server.left_over == [] and not server.directory.exists()
