"""From an empty database to a champion: a simulated history through the decision path, and commands that say what they did."""

from datetime import UTC, datetime
from io import StringIO
from itertools import takewhile

import numpy as np
import onnxruntime
import pytest
from django.core.management import CommandError, call_command

from scoring.decisions.runtime import discard_engine
from scoring.engine import Outcome, Rule
from scoring.features.schema import current_schema
from scoring.ingest.feed import FeedItem, feed
from scoring.learning import bootstrap
from scoring.learning.bootstrap import HistoryRefused, train_first_model
from scoring.learning.snapshot import read_features
from scoring.management.commands.bootstrap_model import DAY_US
from scoring.models import AuditEntry, Decision, Label, OutboxEvent, ProgramRelease, TrainingRun
from scoring.services.release_program import current_champion, promote
from scoring.simulator import SimulationConfig, simulate

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]

CONFIG = SimulationConfig(seed=3, start=datetime(2026, 3, 2, tzinfo=UTC), days=36, customers=80, fraud_rate=0.06)
MODEL_FROM_US = CONFIG.start_us + 29 * DAY_US


@pytest.fixture(autouse=True)
def fresh_engine(artifact_dir):
    discard_engine()
    yield
    discard_engine()


@pytest.fixture(scope="module")
def history() -> list[FeedItem]:
    stream = simulate(CONFIG)
    end_us = CONFIG.start_us + CONFIG.days * DAY_US
    return list(takewhile(lambda item: item.at_us < end_us, feed(stream.timed_transactions(), stream.timed_labels())))


def test_a_history_leads_to_a_champion_that_decides_the_rest_of_it(history, small_learning):
    stored = []
    played, run = train_first_model(history, first_training_us=MODEL_FROM_US, on_progress=stored.append, config=small_learning)
    assert run.state == "promoted", run.reason
    assert run.trigger == "bootstrap"
    assert sum(stored) == len(history) == played.transactions + played.labels
    assert Decision.objects.count() == played.transactions
    assert Label.objects.count() == played.labels > 50
    cut = datetime.fromtimestamp(MODEL_FROM_US / 1e6, UTC)
    before, after = Decision.objects.filter(occurred_at__lt=cut), Decision.objects.filter(occurred_at__gte=cut)
    assert set(before.values_list("probability", flat=True)) == {None}
    assert set(after.values_list("program_version", flat=True)) == {current_champion().version}
    assert not after.filter(probability=None).exists()


def test_reports_are_known_to_the_features_in_time(history, small_learning):
    train_first_model(history, first_training_us=MODEL_FROM_US, config=small_learning)
    before = Decision.objects.filter(occurred_at__lt=datetime.fromtimestamp(MODEL_FROM_US / 1e6, UTC))
    newest = before.order_by("-occurred_at").values_list("seq", flat=True)[:500]
    features = read_features(list(newest), current_schema().width)
    assert (features[:, current_schema().index("merchant.risk_fraud.14d")] > 0).any()


def test_a_history_leaves_no_work_for_analysts(history, small_learning):
    train_first_model(history, first_training_us=MODEL_FROM_US, config=small_learning)
    assert Decision.objects.filter(outcome__gte=2).exists()
    assert not OutboxEvent.objects.exists()


def test_the_same_history_again_stores_nothing_twice(history, small_learning):
    some = history[:1500]
    bootstrap._play(some, bootstrap.Played(), strict=True)
    counts = Decision.objects.count(), Label.objects.count()
    bootstrap._play(some, bootstrap.Played(), strict=True)
    assert (Decision.objects.count(), Label.objects.count()) == counts


def test_a_history_without_frauds_ends_without_a_champion(history, small_learning):
    payments = [item for item in history if item.kind == "transaction"][:300]
    _, run = train_first_model(payments, first_training_us=MODEL_FROM_US, config=small_learning)
    assert run.state == "skipped"
    assert current_champion() is None


def test_a_broken_item_stops_the_history_with_its_reason(history, small_learning):
    broken = FeedItem(history[0].at_us, "transaction", history[0].body | {"amount_minor": -1})
    with pytest.raises(HistoryRefused, match="amount_minor"):
        train_first_model([broken], first_training_us=MODEL_FROM_US, config=small_learning)
    assert not Decision.objects.exists()


def test_a_broken_item_can_be_counted_and_left_out_instead(history, small_learning):
    broken = FeedItem(history[0].at_us, "transaction", history[0].body | {"amount_minor": -1})
    items = [broken, *history[1:200]]
    played, _ = train_first_model(items, first_training_us=MODEL_FROM_US, config=small_learning, strict=False)
    assert played.refused == 1
    assert "amount_minor" in played.first_refusal
    assert Decision.objects.count() == played.transactions == sum(item.kind == "transaction" for item in items) - 1


def test_chunks_never_span_the_moment_of_training(history):
    chunks = list(bootstrap._chunks(history, MODEL_FROM_US))
    assert [item for chunk in chunks for item in chunk] == history
    assert max(map(len, chunks)) <= bootstrap.CHUNK_ITEMS
    for chunk in chunks:
        assert (chunk[0].at_us >= MODEL_FROM_US) == (chunk[-1].at_us >= MODEL_FROM_US)


def called(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_bootstrap_model_does_nothing_where_a_champion_serves(make_release):
    promote(make_release("v1"), actor="test", reason="start")
    assert called("bootstrap_model") == "there is already a champion, v1: nothing to do\n"
    assert not Decision.objects.exists()
    assert not TrainingRun.objects.exists()


def test_bootstrap_model_says_what_it_did_and_why_it_released_nothing():
    out = StringIO()
    with pytest.raises(CommandError, match="no model was released: (too few|no new) matured"):
        call_command("bootstrap_model", "--days=10", "--customers=50", "--seed=1", "--start=2026-03-02", stdout=out)
    assert "payments of 50 customers over 10 days from 2026-03-02" in out.getvalue()
    assert "skipped" in out.getvalue()
    assert Decision.objects.count() > 500


def test_bootstrap_model_refuses_a_population_that_cannot_be_simulated():
    with pytest.raises(CommandError, match="customers must be at least 50"):
        call_command("bootstrap_model", "--customers=3")


def test_retrain_carries_out_a_run_in_the_foreground():
    assert "skipped" in called("train")
    run = TrainingRun.objects.get()
    assert (run.trigger, run.state, run.reason) == ("manual", "skipped", "the ledger is empty")
    assert AuditEntry.objects.get(action="training.start").actor.startswith("command:")


def test_rollback_program_goes_back_one_champion(make_release):
    for version in ("v1", "v2"):
        promote(make_release(version), actor="test", reason="better")
    assert called("rollback_program") == "v1 decides again\n"
    assert ProgramRelease.objects.get(state="champion").version == "v1"
    with pytest.raises(CommandError, match="v1 is the first champion"):
        call_command("rollback_program")


def test_export_onnx_writes_the_champion_or_another_release(make_release, tmp_path):
    with pytest.raises(CommandError, match="no champion yet"):
        called("export_onnx", str(tmp_path / "none.onnx"))
    feature = current_schema().names[0]
    rule = Rule("r", 1, {"op": "is_missing", "args": [{"feature": feature}]}, None, Outcome.REVIEW, 0.1, "Not known", "test")
    promote(make_release("v1", (rule,)), actor="test", reason="better")
    file = tmp_path / "v1.onnx"
    assert called("export_onnx", str(file)).startswith(f"v1 was written to {file}")
    session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    rows = np.zeros((2, current_schema().width), np.float32)
    rows[1, 0] = np.nan
    assert session.run(None, {"x": rows})[0].tolist() == [[0], [1]]
    for arguments, said in (
        ((str(file),), "File exists"),
        ((str(tmp_path / "none.onnx"), "--release=v9"), "no release v9"),
        ((str(tmp_path / "none.onnx"), "--reduced"), "no reduced form"),
    ):
        with pytest.raises(CommandError, match=said):
            called("export_onnx", *arguments)
