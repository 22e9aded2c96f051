"""An artifact folder and key pair of the test's own, and signed releases in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scoring.engine import Calibration, RiskProgram, Rule, default_policy, load_or_create_signing_key, save_program
from scoring.features.schema import current_schema
from scoring.learning.dataset import DataPlan
from scoring.learning.gates import GatePolicy
from scoring.learning.run import LearningConfig
from scoring.learning.train import TrainParameters
from scoring.models import ProgramRelease
from scoring.services.release_program import register


@pytest.fixture
def artifact_dir(settings, tmp_path: Path) -> Path:
    """ARTIFACT_DIR of this test, with its own signing key beside it."""
    settings.ARTIFACT_DIR = tmp_path / "artifacts"
    settings.SIGNING_KEY_FILE = tmp_path / "signing_key.pem"
    settings.VERIFY_KEY_FILE = tmp_path / "verify_key.pem"
    settings.ARTIFACT_DIR.mkdir()
    return settings.ARTIFACT_DIR


@pytest.fixture
def make_release(artifact_dir: Path, settings) -> Callable[..., ProgramRelease]:
    """`make_release("v1")` writes a signed program without a forest and registers it as a candidate."""

    def make(version: str, rules: tuple[Rule, ...] = ()) -> ProgramRelease:
        program = RiskProgram(current_schema(), rules, (), None, Calibration.identity(), default_policy(), version)
        key = load_or_create_signing_key(settings.SIGNING_KEY_FILE, settings.VERIFY_KEY_FILE)
        digest = save_program(program, None, artifact_dir / version, key, {})
        return register(version=version, manifest_sha256=digest, parent=None, figures={}, actor="test")

    return make


@pytest.fixture
def small_learning() -> LearningConfig:
    """Learning that takes well under a second a run."""
    return LearningConfig(
        data=DataPlan(gate_days=5, tune_days=4, window_days=20, window_good_rows=1500, replay_good_rows=150),
        training=TrainParameters(max_depth=3, first_trees_max=20, added_trees_max=10, max_trees=60, patience_trees=8, threads=1),
        gates=GatePolicy(resamples=60, min_gate_frauds=10, min_tune_frauds=5),
    )
