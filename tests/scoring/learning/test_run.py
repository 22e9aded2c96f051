"""A run from the ledger to a release: first model, increment, refusal, skip, and taking up after a crash."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from scoring.feature_rows import stored_row
from scoring.learning import run as runs
from scoring.learning.artifact_folder import load_verified
from scoring.learning.gates import REFUSE, Verdict
from scoring.learning.lease import MAX_ATTEMPTS
from scoring.learning.run import carry_out
from scoring.models import AuditEntry, Label, ProgramRelease, TrainingRun
from scoring.rules.builtin import install_builtin_rules
from scoring.services.release_program import current_champion, promote, roll_back
from scoring.services.start_training import open_run
from tests.scoring.learning.ledger import FIRST_DAY, add_decision, add_history

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]


@pytest.fixture
def history(artifact_dir):
    """Thirty days in which features 20 and 30 together make a fraud."""
    return add_history(rows=1500, days=30, fraud_rate=0.08)


def run_now(config, trigger: str = "manual") -> TrainingRun:
    return carry_out(open_run(trigger, actor="test").pk, config)


def add_a_month_with_another_pattern() -> None:
    add_history(rows=1500, days=30, fraud_rate=0.08, start=FIRST_DAY + timedelta(days=30), seed=1, signal=(40, 50))


def test_the_first_run_trains_from_scratch_and_promotes(history, small_learning, artifact_dir):
    install_builtin_rules()
    run = run_now(small_learning)
    assert run.state == "promoted", run.reason
    champion = current_champion()
    assert run.challenger == champion
    assert run.champion is None
    program = load_verified(champion.artifact)
    assert program.version == champion.version
    assert program.forest.tree_count == run.figures["training"]["trees"]
    assert len(program.rules) > 10
    assert champion.figures["gate"]["challenger"]["ap"]["estimate"] > 0.3
    assert run.figures["gate"]["rows"] == run.figures["data"]["gate"]["rows"] > 0
    assert [folder.name for folder in artifact_dir.iterdir()] == [champion.version]


def test_the_next_run_continues_the_champion_on_new_labels(history, small_learning):
    first = run_now(small_learning)
    add_a_month_with_another_pattern()
    second = run_now(small_learning)
    assert second.state == "promoted", second.reason
    assert second.champion == first.challenger
    assert second.challenger.parent == first.challenger
    assert second.figures["training"]["champion_trees"] == first.figures["training"]["trees"]
    assert second.figures["gate"]["ap_difference"]["estimate"] > 0
    first.challenger.refresh_from_db()
    assert first.challenger.state == "retired"
    assert roll_back("alice") == first.challenger


def test_rows_of_the_gate_period_are_held_out_of_training(history, small_learning, monkeypatch):
    seen = {}

    def remember(data, parameters, on_round):
        seen["fit"], seen["tune"] = data.fit_features[:, 0], data.tune_features[:, 0]
        return train(data, parameters, on_round)

    train = runs.train_from_scratch
    monkeypatch.setattr(runs, "train_from_scratch", remember)
    run = run_now(small_learning)
    gate_from = run.figures["periods"]["gate_from"]
    gate = {stored_row(d.features)[0] for d in history if d.occurred_at.isoformat() >= gate_from}
    assert gate
    assert not gate & set(seen["fit"].tolist())
    assert not gate & set(seen["tune"].tolist())
    assert not set(seen["fit"].tolist()) & set(seen["tune"].tolist())


def test_a_refused_challenger_is_kept_but_does_not_serve(history, small_learning):
    first = run_now(small_learning)
    add_a_month_with_another_pattern()
    impossible = replace(small_learning, gates=replace(small_learning.gates, ap_margin=-2.0))
    second = run_now(impossible)
    assert second.state == "refused"
    assert "AP" in second.reason
    assert second.challenger.state == "refused"
    assert current_champion() == first.challenger


def test_without_new_matured_labels_a_run_is_skipped(history, small_learning):
    first = run_now(small_learning)
    add_decision(FIRST_DAY + timedelta(days=30))
    again = run_now(small_learning)
    assert again.state == "skipped"
    assert again.reason.startswith(f"no new matured labels since run {first.slot}")
    assert again.challenger is None


def test_an_empty_ledger_and_too_few_frauds_are_skipped(artifact_dir, small_learning):
    assert run_now(small_learning).reason == "the ledger is empty"
    add_history(rows=200, days=30, fraud_rate=0.05)
    skipped = run_now(small_learning)
    assert skipped.state == "skipped"
    assert "too few matured frauds" in skipped.reason
    assert "30 needed in the fit period" in skipped.reason


def test_rows_of_an_older_schema_alone_are_not_learnt_from(artifact_dir, small_learning):
    for decision in add_history(rows=100, days=30):
        decision.feature_schema = "0" * 16
        decision.save()
    assert run_now(small_learning).reason == "no row with the current features has matured yet"


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours handles it."""


def abandon(run_id: int) -> None:
    """Let the lease run out, as after the death of a worker."""
    TrainingRun.objects.filter(pk=run_id).update(lease_expires_at=timezone.now() - timedelta(seconds=1))


@pytest.mark.parametrize("where", ["train_from_scratch", "save_program", "judge", "conclude"])
def test_a_run_killed_anywhere_is_finished_by_the_next_worker_once(history, small_learning, monkeypatch, where, artifact_dir):
    run_id = open_run("manual", actor="test").pk

    def die(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(runs, where, die)
        with pytest.raises(Killed):
            carry_out(run_id, small_learning)
    assert ProgramRelease.objects.count() == 0
    assert carry_out(run_id, small_learning) is None  # the lease has not run out
    frozen = TrainingRun.objects.get(pk=run_id).snapshot

    abandon(run_id)
    add_decision(FIRST_DAY + timedelta(days=300))  # not part of the snapshot
    run = carry_out(run_id, small_learning)
    assert run.state == "promoted", run.reason
    assert run.snapshot == frozen
    assert run.attempts == 2
    assert ProgramRelease.objects.get() == run.challenger
    assert [folder.name for folder in artifact_dir.iterdir()] == [run.challenger.version]


def test_a_finished_artifact_is_used_again_after_a_crash(history, small_learning, monkeypatch):
    run_id = open_run("manual", actor="test").pk

    def die(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(runs, "judge", die)
        with pytest.raises(Killed):
            carry_out(run_id, small_learning)
    abandon(run_id)
    monkeypatch.setattr(runs, "train_from_scratch", die)
    assert carry_out(run_id, small_learning).state == "promoted"


def test_a_finished_artifact_that_was_damaged_is_built_again(history, small_learning, monkeypatch, artifact_dir):
    run_id = open_run("manual", actor="test").pk

    def die(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(runs, "judge", die)
        with pytest.raises(Killed):
            carry_out(run_id, small_learning)
    (artifact,) = artifact_dir.iterdir()
    (artifact / "model.ubj").write_bytes(b"torn")
    abandon(run_id)
    run = carry_out(run_id, small_learning)
    assert run.state == "promoted"
    assert run.challenger.version != artifact.name
    assert not artifact.exists()


def test_a_worker_that_comes_back_after_its_run_was_taken_over_registers_nothing(history, small_learning, monkeypatch):
    run_id = open_run("manual", actor="test").pk
    taken_over = []

    def judge_slowly(*args):
        if not taken_over:
            taken_over.append(True)
            abandon(run_id)
            taken_over.append(carry_out(run_id, small_learning))
        return judge(*args)

    judge = runs.judge
    monkeypatch.setattr(runs, "judge", judge_slowly)
    assert carry_out(run_id, small_learning) is None
    run = TrainingRun.objects.get(pk=run_id)
    assert taken_over[1].state == run.state == "promoted"
    assert run.fencing_token == 2
    assert ProgramRelease.objects.get() == run.challenger
    assert AuditEntry.objects.filter(action="program.register").count() == 1


@pytest.mark.parametrize("late_error", [None, FileNotFoundError("the folder is gone")])
def test_a_worker_that_was_replaced_while_it_wrote_its_artifact_leaves_nothing(
    history, small_learning, monkeypatch, artifact_dir, late_error
):
    run_id = open_run("manual", actor="test").pk
    attempts = []

    def save_slowly(*args):
        attempts.append(args)
        if len(attempts) == 1:
            abandon(run_id)
            assert carry_out(run_id, small_learning).state == "promoted"
            if late_error:
                raise late_error
        return save_program(*args)

    save_program = runs.save_program
    monkeypatch.setattr(runs, "save_program", save_slowly)
    assert carry_out(run_id, small_learning) is None
    release = ProgramRelease.objects.get()
    assert [folder.name for folder in artifact_dir.iterdir()] == [release.artifact]
    assert TrainingRun.objects.get(pk=run_id).state == "promoted"


def test_an_attempt_that_fails_is_recorded_and_tried_again(history, small_learning, monkeypatch):
    run_id = open_run("manual", actor="test").pk

    def fail(*args, **kwargs):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(runs, "save_program", fail)
        with pytest.raises(OSError, match="no space"):
            carry_out(run_id, small_learning)
    run = TrainingRun.objects.get(pk=run_id)
    assert (run.state, run.attempts) == ("pending", 1)
    assert f"attempt 1 of {MAX_ATTEMPTS} failed: OSError: no space left on device" in run.reason
    abandon(run_id)
    assert carry_out(run_id, small_learning).state == "promoted"


def test_a_champion_that_changed_meanwhile_is_not_replaced(history, small_learning, monkeypatch, make_release):
    def promote_another_while_judging(*args):
        promote(make_release("hot-fix"), actor="alice", reason="urgent")
        return judge(*args)

    judge = runs.judge
    monkeypatch.setattr(runs, "judge", promote_another_while_judging)
    run = run_now(small_learning)
    assert run.state == "refused"
    assert "the champion changed while this run worked, to hot-fix" in run.reason
    assert current_champion().version == "hot-fix"


def test_a_champion_without_a_forest_is_replaced_by_a_first_model(history, small_learning, make_release):
    rules_only = promote(make_release("rules-only"), actor="test", reason="start")
    run = run_now(small_learning)
    assert run.state == "promoted", run.reason
    assert run.champion == rules_only
    assert run.figures["training"]["method"] == "from_scratch"


def test_a_full_grown_champion_is_followed_by_a_forest_from_scratch(history, small_learning):
    run_now(small_learning)
    add_a_month_with_another_pattern()
    full = replace(small_learning, training=replace(small_learning.training, max_trees=5))
    run = run_now(full)
    assert run.figures["training"]["method"] == "from_scratch"
    assert "champion" in run.figures["gate"]


def test_a_champion_model_that_was_tampered_with_is_not_continued(history, small_learning, artifact_dir):
    first = run_now(small_learning)
    model = artifact_dir / first.challenger.artifact / "model.ubj"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    add_a_month_with_another_pattern()
    with pytest.raises(Exception, match="model.ubj was changed after it was signed"):
        run_now(small_learning)
    assert current_champion() == first.challenger


def test_verdicts_name_their_decision(history, small_learning, monkeypatch):
    monkeypatch.setattr(runs, "judge", lambda *args: Verdict(REFUSE, "planted", {"rows": 1}))
    run = run_now(small_learning)
    assert (run.state, run.reason, run.figures["gate"]) == ("refused", "planted", {"rows": 1})


def test_labels_of_the_replayed_history_weigh_no_more_than_the_window(history, small_learning, monkeypatch):
    seen = {}

    def remember(model, data, parameters, on_round):
        seen["data"] = data
        return train(model, data, parameters, on_round)

    train = runs.train_increment
    run_now(small_learning)
    add_a_month_with_another_pattern()
    monkeypatch.setattr(runs, "train_increment", remember)
    run = run_now(small_learning)
    data = seen["data"]
    window_from = run.figures["periods"]["window_from"]
    replayed = [d for d in history if d.occurred_at.isoformat() < window_from]
    frauds_before = Label.objects.filter(decision__in=replayed).count()
    assert frauds_before > 0
    assert data.fit_labels.sum() >= frauds_before
    assert len(data.fit_labels) < 1500 + 1500  # the rest is a reservoir
