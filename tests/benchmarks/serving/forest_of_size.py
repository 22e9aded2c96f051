"""Grows the serving forest to a given number of trees on the rows that it was trained on, and promotes the result.

    python -m tests.benchmarks.serving.forest_of_size 200        (settings and database from the environment)

The first training stops where more trees no longer rank the tune period better, which is after some dozens on a simulated
history. A benchmark wants a forest of a known size: this one goes on without asking the tune period, or cuts a larger forest.
Features, labels, weights, growth parameters, rules and policy stay those of the first release; the calibration is fitted again.
"""

from __future__ import annotations

import sys
from pathlib import Path

import django

django.setup()

import xgboost  # noqa: E402
from django.conf import settings  # noqa: E402

from scoring.engine import Forest, RiskProgram, fit_platt, load_or_create_signing_key, save_program  # noqa: E402
from scoring.learning import artifact_folder  # noqa: E402
from scoring.learning.dataset import DataPlan, RowSample, draw_sample, plan_periods  # noqa: E402
from scoring.learning.snapshot import Snapshot, oldest_event  # noqa: E402
from scoring.learning.train import TrainParameters  # noqa: E402
from scoring.models import ProgramRelease  # noqa: E402
from scoring.services.release_program import current_champion, promote, register  # noqa: E402

ACTOR = "bench-serving"


def main(trees: int) -> None:
    """Promote a release with a forest of `trees` trees."""
    champion = current_champion()
    if champion is None:
        raise SystemExit("there is no champion to start from: run bootstrap_model first")
    program = artifact_folder.load_verified(champion.artifact)
    rows = _rows_of(champion, program.schema.version)
    booster = _grown(artifact_folder.read_model(champion), rows, program.schema.names, trees)
    model_ubj = bytes(booster.save_raw("ubj"))
    forest = Forest.from_xgboost(model_ubj, program.schema.names)
    grown = RiskProgram(
        schema=program.schema,
        rules=program.rules,
        list_names=program.list_names,
        forest=forest,
        calibration=fit_platt(forest.margins(rows.tune.features(program.schema.width)), rows.tune.rows.label),
        policy=program.policy,
        version=f"{champion.version}-{trees}-trees",
    )
    _release(grown, model_ubj, champion)
    print(f"{grown.version}: {forest.tree_count} trees on {len(rows.fit.rows)} rows, {len(program.rules)} rules")


def _rows_of(champion: ProgramRelease, feature_schema: str) -> RowSample:
    """Return the rows of the run that built the champion."""
    snapshot = Snapshot.from_json(champion.built_by.snapshot)
    oldest = oldest_event(snapshot, feature_schema)
    if oldest is None:
        raise SystemExit("no row of the ledger has matured")
    plan = DataPlan()
    return draw_sample(snapshot, feature_schema, plan_periods(snapshot, oldest, plan, whole_history=True), plan)


def _grown(model_ubj: bytes, rows: RowSample, names: tuple[str, ...], trees: int) -> xgboost.Booster:
    booster = xgboost.Booster()
    booster.load_model(bytearray(model_ubj))
    missing = trees - booster.num_boosted_rounds()
    if missing <= 0:
        return booster[:trees]
    parameters = TrainParameters()
    data = xgboost.QuantileDMatrix(
        rows.fit.features(len(names)), rows.fit.rows.label, weight=rows.fit.weight, feature_names=list(names),
        nthread=parameters.threads, max_bin=parameters.max_bins,
    )  # fmt: skip
    return xgboost.train(parameters.booster(), data, missing, xgb_model=booster)


def _release(program: RiskProgram, model_ubj: bytes, parent: ProgramRelease) -> None:
    key = load_or_create_signing_key(Path(settings.SIGNING_KEY_FILE), Path(settings.VERIFY_KEY_FILE))
    trees = program.forest.tree_count
    figures = {"training": {"method": "grown for a benchmark", "trees": trees}}
    sha256 = save_program(program, model_ubj, artifact_folder.folder_of(program.version), key, figures)
    release = register(version=program.version, manifest_sha256=sha256, parent=parent, figures=figures, actor=ACTOR)
    promote(release, actor=ACTOR, reason=f"a forest of {trees} trees to measure with")


if __name__ == "__main__":
    main(int(sys.argv[1]))
