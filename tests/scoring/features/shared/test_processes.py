"""Real processes at the same time over one log."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scoring.features.shared.shared_log import SharedLog
from tests.product_source import ROOT
from tests.scoring.features.shared.members import Replay
from tests.servers.redis_server import client_of

BATCHES = 150
WORKER = "tests.scoring.features.shared.worker"


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_that_decide_at_once_see_one_order(redis_url, tmp_path: Path, processes: int):
    files = [tmp_path / f"{who}.npz" for who in range(processes)]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", WORKER, redis_url, str(who), str(processes), str(BATCHES), str(file)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for who, file in enumerate(files)
    ]
    for process in running:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    with client_of(redis_url) as client:
        epoch = client.hget("{risk:test}:meta", "epoch")
    log = SharedLog(redis_url, "test")
    replay = Replay(log, epoch)
    replay.follow()
    log.close()
    seen = [np.load(file) for file in files]
    assert sum(len(of["keys"]) for of in seen) == len(replay.features)
    for of in seen:
        for key, row in zip(of["keys"].tolist(), of["rows"], strict=True):
            assert row.tobytes() == replay.features[key]
        assert of["foreign"] > 0, "the processes took turns, so that this showed nothing"
