"""Files can be read and payments simulated without Django and without the engine."""

import subprocess
import sys


def test_reading_and_simulating_need_neither_django_nor_the_engine():
    unwanted = {"django", "torch", "xgboost", "inference_core", "kernels"}
    code = "import sys, scoring.ingest, scoring.simulator; print(*{name.partition('.')[0] for name in sys.modules})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = set(found.split())
    assert "numpy" in loaded
    assert loaded & unwanted == set()
