"""What a machine that only scores must have: NumPy and torch, and nothing that is imported for other work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import inference_core

ROOT = Path(inference_core.__file__).parents[1]


def imported_by(program: str) -> set[str]:
    program = f"import sys\n{program}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_a_program_runs_without_signatures_xgboost_or_django():
    program = """
import numpy as np
from inference_core import Calibration, FeatureColumn, FeatureSchema, RiskProgram, default_policy
schema = FeatureSchema((FeatureColumn("a", "count", "a"),))
RiskProgram(schema, (), (), None, Calibration.identity(), default_policy(), "v1").run(np.zeros((1, 1), np.float32))
"""
    names = imported_by(program)
    assert "numpy" in names
    assert not names & {"cryptography", "xgboost", "django", "celery", "redis", "msgspec", "torch", "triton"}


def test_what_is_signed_is_still_found():
    assert "cryptography" in imported_by("from inference_core import load_program, save_program")
