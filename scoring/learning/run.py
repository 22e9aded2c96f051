"""One training run from its snapshot to a release, in steps that a second worker can take up after a crash.

    freeze -> build -> judge -> conclude

What a step has settled is stored in the run's row under the lease before the next one begins: the snapshot, the finished
artifact folder, and at last the release with its promotion or refusal, in one transaction guarded by the fencing token.
A worker may be killed at any point: the run is handed on with the snapshot it had, a finished artifact is used again, a
half-written one is removed, and only the transaction of the last step makes anything visible.
"""

from __future__ import annotations

import logging
import secrets
import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
from django.conf import settings

from scoring.engine import ArtifactRefused, Forest, RiskProgram, default_policy, load_or_create_signing_key, save_program
from scoring.features.schema import current_schema
from scoring.learning import artifact_folder
from scoring.learning.conclusion import conclude
from scoring.learning.dataset import DataPlan, RowSample, draw_sample, plan_periods
from scoring.learning.gates import SKIP, GatePolicy, GateRows, Scores, Verdict, judge
from scoring.learning.lease import Heartbeat, Lease, LeaseLost, acquire, fenced, hand_back
from scoring.learning.net_parameters import NetParameters, NetWish
from scoring.learning.snapshot import Snapshot, freeze, new_matured_frauds, oldest_event
from scoring.learning.train import TrainedForest, TrainingData, TrainParameters, train_from_scratch, train_increment
from scoring.learning.trained_net import NOT_WANTED, TrainedNet
from scoring.models import TrainingRun
from scoring.rules.live import live_rules
from scoring.services.release_program import current_champion

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LearningConfig:
    """How a run samples, trains and judges, and whether it trains a net beside its forest."""

    data: DataPlan = DataPlan()
    training: TrainParameters = TrainParameters()
    net: NetParameters = NetParameters()
    net_wish: NetWish = NetWish.IF_IT_HELPS
    gates: GatePolicy = GatePolicy()


def carry_out(run_id: int, config: LearningConfig | None = None) -> TrainingRun | None:
    """Work on the run until it is concluded; return None when another worker has it or it is finished.

    Raises:
        Exception: what made this attempt fail. The run is then waiting for its next attempt, or has failed.
    """
    lease = acquire(run_id)
    if lease is None:
        return None
    try:
        with Heartbeat(lease) as heartbeat:
            _Attempt(lease, heartbeat, config or LearningConfig()).work()
    except LeaseLost as lost:
        logger.warning("%s; this attempt is dropped", lost)
        return None
    except Exception as error:
        try:
            hand_back(lease, error)
        except LeaseLost:
            # The next worker tidied up under our feet; the error is no news about the run.
            logger.warning("run %s: this attempt failed after its lease was lost", run_id, exc_info=True)
            return None
        raise
    return TrainingRun.objects.get(pk=run_id)


class _Attempt:
    """One worker's attempt at a run."""

    def __init__(self, lease: Lease, heartbeat: Heartbeat, config: LearningConfig) -> None:
        self._lease = lease
        self._still_ours = heartbeat.check
        self._config = config
        self._schema = current_schema()

    def work(self) -> None:
        run = self._freeze()
        if not run.snapshot:
            return self._skip("the ledger is empty")
        snapshot = Snapshot.from_json(run.snapshot)
        champion = self._champion(run)
        if too_little := self._too_little_news(run, snapshot):
            return self._skip(too_little)
        sample = self._draw(run, snapshot, champion)
        if too_few := self._too_few_frauds(sample):
            return self._skip(too_few)
        program = self._reuse(run) or self._build(run, sample, champion)
        self._still_ours()
        verdict = self._judge(sample, program, champion)
        self._conclude(verdict)

    def _freeze(self) -> TrainingRun:
        """Settle what this run sees and which champion it challenges; a resumed run keeps both."""
        with fenced(self._lease) as run:
            if not run.snapshot and (snapshot := freeze(timedelta(days=settings.LABEL_MATURITY_DAYS))) is not None:
                # The nonce keeps artifact folders apart that stem from different databases.
                run.snapshot = snapshot.to_json() | {"nonce": secrets.token_hex(4)}
                run.champion = current_champion()
                run.save(update_fields=["snapshot", "champion"])
        return run

    def _champion(self, run: TrainingRun) -> RiskProgram | None:
        """Return the program to continue and to beat, or None where it cannot score today's features."""
        if run.champion is None:
            return None
        program = artifact_folder.load_verified(run.champion.artifact)
        if program.forest is None or program.schema.version != self._schema.version:
            logger.info("run %s starts afresh: the champion has no forest for schema %s", run.pk, self._schema.version)
            return None
        return program

    def _starts_afresh(self, champion: RiskProgram | None) -> bool:
        return champion is None or not self._config.training.may_grow(champion.forest.tree_count)

    def _too_little_news(self, run: TrainingRun, snapshot: Snapshot) -> str:
        earlier = (
            TrainingRun.objects.filter(state__in=[TrainingRun.State.PROMOTED, TrainingRun.State.REFUSED])
            .exclude(pk=run.pk)
            .order_by("-finished_at")
            .first()
        )
        previous = Snapshot.from_json(earlier.snapshot) if earlier else None
        frauds = new_matured_frauds(snapshot, previous)
        if frauds >= self._config.gates.min_new_frauds:
            return ""
        since = f" since run {earlier.slot}" if earlier else ""
        return f"no new matured labels{since}: {frauds} new frauds before {snapshot.matured_until:%Y-%m-%d %H:%M}"

    def _draw(self, run: TrainingRun, snapshot: Snapshot, champion: RiskProgram | None) -> RowSample | None:
        oldest = oldest_event(snapshot, self._schema.version)
        if oldest is None:
            return None
        plan = self._config.data
        periods = plan_periods(snapshot, oldest, plan, whole_history=self._starts_afresh(champion))
        sample = draw_sample(snapshot, self._schema.version, periods, plan)
        self._store_figures(periods=periods.to_json(), data=sample.figures())
        return sample

    def _too_few_frauds(self, sample: RowSample | None) -> str:
        if sample is None:
            return "no row with the current features has matured yet"
        gates = self._config.gates
        needed = {"fit": gates.min_fit_frauds, "tune": gates.min_tune_frauds, "gate": gates.min_gate_frauds}
        short = [
            f"{getattr(sample, name).frauds} of {least} needed in the {name} period"
            for name, least in needed.items()
            if getattr(sample, name).frauds < least
        ]
        return f"too few matured frauds: {', '.join(short)}" if short else ""

    def _reuse(self, run: TrainingRun) -> RiskProgram | None:
        """Return the program that an earlier attempt finished, if it is there and intact."""
        artifact = run.figures.get("artifact")
        if artifact is None:
            return None
        try:
            program = artifact_folder.load_verified(artifact["version"])
        except ArtifactRefused as refusal:
            logger.warning("run %s trains again: %s", run.pk, refusal)
            return None
        logger.info("run %s goes on with %s", run.pk, program.version)
        return program

    def _build(self, run: TrainingRun, sample: RowSample, champion: RiskProgram | None) -> RiskProgram:
        """Train, sign and store the challenger; the folder appears complete or not at all."""
        prefix = f"{run.snapshot['as_of'][:10].replace('-', '')}-{run.snapshot['nonce']}"
        artifact_folder.remove_unreleased(prefix)
        data = self._data(sample)
        trained = self._train(run, data, champion)
        beside = self._train_net(trained.forest, data)
        figures = trained.figures | {"net": beside.figures}
        rules, list_names, _ = live_rules()
        program = RiskProgram(
            schema=self._schema,
            rules=rules,
            list_names=list_names,
            forest=trained.forest,
            calibration=beside.calibration or trained.calibration,
            policy=default_policy(),
            version=f"{prefix}-{self._lease.token}",
            net=beside.net,
            blend=beside.blend,
        )
        key = load_or_create_signing_key(Path(settings.SIGNING_KEY_FILE), Path(settings.VERIFY_KEY_FILE))
        self._still_ours()
        folder = artifact_folder.folder_of(program.version)
        manifest_sha256 = save_program(program, trained.model_ubj, folder, key, {"training": figures})
        try:
            self._store_figures(training=figures, artifact={"version": program.version, "manifest_sha256": manifest_sha256})
        except LeaseLost:
            shutil.rmtree(folder, ignore_errors=True)  # nobody else would ever look for it
            raise
        return program

    def _data(self, sample: RowSample) -> TrainingData:
        width = self._schema.width
        return TrainingData(
            feature_names=self._schema.names,
            fit_features=sample.fit.features(width),
            fit_labels=sample.fit.rows.label,
            fit_weights=sample.fit.weight,
            tune_features=sample.tune.features(width),
            tune_labels=sample.tune.rows.label,
        )

    def _train(self, run: TrainingRun, data: TrainingData, champion: RiskProgram | None) -> TrainedForest:
        self._still_ours()
        parameters = self._config.training
        if self._starts_afresh(champion):
            return train_from_scratch(data, parameters, self._still_ours)
        return train_increment(artifact_folder.read_model(run.champion), data, parameters, self._still_ours)

    def _train_net(self, forest: Forest, data: TrainingData) -> TrainedNet:
        """Train a net as the configuration wishes; the import brings torch, which other runs do without."""
        if self._config.net_wish is NetWish.NEVER:
            return NOT_WANTED
        from scoring.learning.net import train_beside

        return train_beside(forest, data, self._config.net, self._config.net_wish, self._still_ours)

    def _judge(self, sample: RowSample, challenger: RiskProgram, champion: RiskProgram | None) -> Verdict:
        rows = sample.gate.rows
        features = sample.gate.features(self._schema.width)
        return judge(
            GateRows(rows.label, rows.amount_minor, rows.currency),
            _scores(challenger, features),
            None if champion is None else _scores(champion, features),
            challenger.policy,
            self._config.gates,
        )

    def _skip(self, reason: str) -> None:
        self._conclude(Verdict(SKIP, reason))

    def _conclude(self, verdict: Verdict) -> None:
        with fenced(self._lease) as run:
            conclude(run, verdict)
        logger.info("run %s (%s): %s, %s", run.pk, run.slot, run.state, run.reason)

    def _store_figures(self, **figures: dict) -> None:
        with fenced(self._lease) as run:
            run.figures = run.figures | figures
            run.save(update_fields=["figures"])


def _scores(program: RiskProgram, features: np.ndarray) -> Scores:
    margin = program.forest.margins(features) if program.net is None else program.run(features).margin
    return Scores(margin, program.calibration.probability(margin))
