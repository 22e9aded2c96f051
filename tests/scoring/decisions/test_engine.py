"""From an accepted transaction to a committed decision."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import pytest
from django.db import DatabaseError, IntegrityError, OperationalError, transaction
from django.utils import timezone

import scoring.decisions.engine as engine_module
import scoring.ledger
from scoring.decisions.engine import DecisionEngine
from scoring.decisions.requests import Decided, DecisionRequest, request_now
from scoring.engine import Outcome, table_rows
from scoring.errors import EngineUnavailable, ScoringError, TransactionConflict
from scoring.feature_rows import stored_row
from scoring.features.schema import current_schema
from scoring.ledger_tables import OUTBOX
from scoring.models import Alert, Decision, EngineSample, Label, ListEntry, OutboxEvent
from scoring.services.record_labels import record_labels
from scoring.stored_answers import stored_answer
from tests.scoring.decisions.conftest import NOON, payment
from tests.scoring.decisions.ledger_samples import PlainRows, packed, unpacked
from tests.scoring.decisions.programs import risk_program

pytestmark = [pytest.mark.any_database, pytest.mark.django_db]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def decide(engine: DecisionEngine, *bodies: dict) -> list[Decided | ScoringError]:
    return engine.decide([sent(body) for body in bodies])


def sent(body: dict, **options: bool) -> DecisionRequest:
    return request_now(json.dumps(body).encode(), **options)


def answer(result: Decided | ScoringError) -> dict:
    assert isinstance(result, Decided), result
    return json.loads(result.body)


def features(engine: DecisionEngine, body: dict) -> dict[str, float]:
    values = engine.dry_run(sent(body))[1].tolist()
    return dict(zip(current_schema().names, values, strict=True))


# --- the ledger ----------------------------------------------------------------------------------------------------------


def test_a_decision_is_stored_with_what_is_needed_to_explain_it(engine):
    body = payment(1, counterparty_id="b1", account_id="a1", country="DE", latitude=52.5, card_present=True)
    told = answer(decide(engine, body)[0])
    row = Decision.objects.get()
    assert json.loads(stored_answer(row)) == told
    assert json.loads(row.transaction) == body | {"occurred_at": "2026-03-02T12:00:00Z"}
    assert (row.decision_id, row.transaction_id, row.occurred_at) == (told["decision_id"], "tx-1", NOON)
    for name in (
        "amount_minor",
        "currency",
        "type",
        "channel",
        "customer_id",
        "card_id",
        "merchant_id",
        "country",
    ):
        assert getattr(row, name) == body[name]
    assert (row.get_outcome_display(), row.score, row.mode, row.degraded) == (
        told["outcome"],
        told["score"],
        told["mode"],
        told["degraded"],
    )
    assert (row.program_version, row.feature_schema) == (told["versions"]["program"], current_schema().version)
    stored = stored_row(row.features)
    assert stored.shape == (current_schema().width,) and stored[current_schema().index("amount_minor")] == 2_500
    assert (row.probability, row.margin) == (None, None), "no model yet"


def test_probability_and_margin_are_stored_where_a_model_gives_them(make_champion, fresh_engine):
    make_champion("v7")
    told = answer(decide(fresh_engine(), payment(1))[0])
    row = Decision.objects.get()
    assert row.program_version == told["versions"]["model"] == "v7" and not told["degraded"]
    assert row.probability == pytest.approx(1 / (1 + np.exp(-row.margin))) and told["probability"] == pytest.approx(
        row.probability, abs=1e-6
    )


def test_transactions_arrive_in_order_of_seq(engine):
    decide(engine, *[payment(i) for i in (5, 3, 9, 1)])
    assert list(Decision.objects.order_by("seq").values_list("transaction_id", flat=True)) == ["tx-5", "tx-3", "tx-9", "tx-1"]


# --- once ----------------------------------------------------------------------------------------------------------------


def test_a_repeated_transaction_gets_the_stored_answer_byte_for_byte(engine):
    (first,) = decide(engine, payment(1))
    decide(engine, payment(2), payment(3))
    (again,) = decide(engine, payment(1))
    assert again == Decided(first.body, replayed=True)
    assert Decision.objects.count() == 3


def test_field_order_white_space_and_nulls_do_not_make_another_body(engine):
    (first,) = decide(engine, payment(1))
    shuffled = dict(reversed(payment(1).items())) | {"mcc": None}
    assert decide(engine, shuffled) == [Decided(first.body, replayed=True)]


@pytest.mark.parametrize(
    "changed", [{"amount_minor": 2_501}, {"merchant_id": None}, {"mcc": "5411"}, {"occurred_at": "2026-03-02T12:00:00.000001Z"}]
)
def test_another_body_under_a_known_id_is_a_conflict(engine, changed):
    decide(engine, payment(1))
    (result,) = decide(engine, payment(1, **changed))
    assert isinstance(result, TransactionConflict) and result.status == 409
    assert Decision.objects.count() == 1


def test_duplicates_in_one_batch_are_one_decision(engine):
    results = decide(engine, payment(1), payment(2), payment(1), payment(1, amount_minor=1), payment(2))
    assert [getattr(r, "replayed", type(r)) for r in results] == [False, False, True, TransactionConflict, True]
    assert results[2].body == results[0].body and results[4].body == results[1].body
    assert Decision.objects.count() == 2


def test_repeats_and_conflicts_are_not_remembered_as_payments(engine):
    decide(engine, payment(1), payment(1), payment(1, amount_minor=9))
    decide(engine, payment(1))
    assert features(engine, payment(2, HOUR))["card.count.24h"] == 1


def test_another_process_that_was_first_wins(engine, monkeypatch):
    """It stored the id between our look-up and our commit."""
    (first,) = decide(engine, payment(1))
    lookups = iter([{}])
    found = engine_module.find_answers
    monkeypatch.setattr(engine_module, "find_answers", lambda ids: next(lookups, None) if next(calls) == 0 else found(ids))
    calls = iter(range(100))
    results = decide(engine, payment(1), payment(2))
    assert results[0] == Decided(first.body, replayed=True) and not results[1].replayed
    assert features(engine, payment(3, HOUR))["card.count.24h"] == 2
    assert Decision.objects.count() == 2


# --- failures ------------------------------------------------------------------------------------------------------------


def test_a_failed_commit_stores_nothing_and_a_retry_is_as_if_nothing_had_happened(engine, monkeypatch):
    decide(engine, payment(1), payment(2, HOUR))
    batch = [payment(3, 2 * HOUR), payment(4, 2 * HOUR, amount_minor=9_000), payment(5, -3 * DAY)]
    before = [features(engine, body) for body in batch]
    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "commit_decisions", _raise(DatabaseError("disk full")))
        results = decide(engine, *batch)
    assert all(isinstance(r, EngineUnavailable) and r.retryable and "disk full" not in str(r) for r in results)
    assert Decision.objects.count() == 2 and not OutboxEvent.objects.filter(subject__isnull=True)
    assert str([features(engine, body) for body in batch]) == str(before)
    assert [r.replayed for r in decide(engine, *batch)] == [False] * 3
    rows = {row.transaction_id: stored_row(row.features) for row in Decision.objects.all()}
    assert rows["tx-3"][current_schema().index("card.count.24h")] == 2
    assert rows["tx-4"][current_schema().index("card.count.24h")] == 3


def test_a_commit_that_only_seemed_to_fail_is_found_again(engine, monkeypatch):
    """The connection broke while it committed: the decision is there, and its answer was never sent."""
    really = engine_module.commit_decisions

    def commit_and_break(*args):
        really(*args)
        raise OperationalError("connection lost")

    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "commit_decisions", commit_and_break)
        assert isinstance(decide(engine, payment(1))[0], EngineUnavailable)
    assert Decision.objects.count() == 1
    again, other = decide(engine, payment(1), payment(2, HOUR))
    assert again.replayed and again.body == stored_answer(Decision.objects.get(transaction_id="tx-1"))
    row = stored_row(Decision.objects.get(transaction_id="tx-2").features)
    assert row[current_schema().index("card.count.24h")] == 1, "the event is remembered"
    assert not other.replayed


def test_a_failure_that_leaves_no_doubt_rebuilds_nothing(engine, monkeypatch):
    """Reading the whole ledger again would keep every caller waiting."""
    decide(engine, payment(1))
    monkeypatch.setattr(engine._keeper, "rebuild", lambda: pytest.fail("rebuilt"))
    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "commit_decisions", _raise(DatabaseError()))
        decide(engine, payment(1), payment(2))
        patched.setattr(engine_module, "find_answers", _raise(DatabaseError()))
        decide(engine, payment(1))
    assert [r.replayed for r in decide(engine, payment(1), payment(2))] == [True, False]


def test_a_clock_that_a_failed_batch_moved_goes_back(make_champion, fresh_engine, monkeypatch):
    make_champion()
    engine = fresh_engine()
    decide(engine, payment(1))
    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "commit_decisions", _raise(DatabaseError()))
        decide(engine, payment(2, 20 * DAY))
    assert answer(decide(engine, payment(3, HOUR))[0])["mode"] == "normal"


def test_decisions_and_alerts_are_stored_together_or_not_at_all(engine, monkeypatch):
    columns = scoring.ledger._ALERT_COLUMNS | {"topic": table_rows.Constant(None)}
    broken = table_rows.RowLayout(scoring.ledger._ALERTS.arrays, OUTBOX.ordered(columns), texts=1)
    monkeypatch.setattr(scoring.ledger, "_ALERTS", broken)  # breaks NOT NULL after the decisions were written
    results = decide(engine, payment(1), payment(2))
    assert all(isinstance(r, EngineUnavailable) for r in results)
    assert Decision.objects.count() == OutboxEvent.objects.count() == 0
    assert features(engine, payment(3, HOUR))["card.count.24h"] == 0


def test_an_unexpected_failure_takes_the_events_back_as_well(engine, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "render_answers", _raise(RuntimeError("bug")))
        with pytest.raises(RuntimeError):
            decide(engine, payment(1))
    assert Decision.objects.count() == 0
    assert features(engine, payment(2, HOUR))["card.count.24h"] == 0


def test_one_row_that_the_database_refuses_stores_nothing_of_its_batch(engine):
    rows = _rows(engine, payment(1), payment(2))
    with pytest.raises((DatabaseError, IntegrityError)), transaction.atomic():
        scoring.ledger.commit_decisions(packed(rows._replace(score=[10, 1_001])), b"", timezone.now())
    assert Decision.objects.count() == 0


def _rows(engine, *bodies: dict) -> PlainRows:
    """Return the ledger rows of a batch that is not committed."""
    work = engine.begin([sent(body) for body in bodies])
    engine.prepare(work)
    rows = unpacked(work.rows)
    engine.abandon(work)
    return rows


def _raise(error: Exception):
    def raising(*_args, **_kwargs):
        raise error

    return raising


# --- alerts --------------------------------------------------------------------------------------------------------------


def test_each_decision_that_needs_a_person_leaves_one_outbox_row(make_champion, fresh_engine):
    make_champion()
    ListEntry.objects.create(list_name="blocked_cards", value="card-stolen", created_by="test")
    engine = fresh_engine()
    results = [
        answer(r) for r in decide(engine, payment(1), payment(2, card_id="card-stolen"), payment(2, card_id="card-stolen"))
    ]
    assert [r["outcome"] for r in results] == ["approve", "decline", "decline"]
    row = OutboxEvent.objects.get()
    assert (row.topic, row.subject, row.attempts) == ("alert.raise", results[1]["decision_id"], 0)
    assert abs(row.created_at - timezone.now()) < timedelta(minutes=1)
    decide(engine, payment(2, card_id="card-stolen"))
    assert OutboxEvent.objects.count() == 1


def test_history_that_was_dealt_with_raises_no_alert(engine):
    (result,) = engine.decide([sent(payment(1), backfill=True)])
    assert answer(result)["mode"] == "backfill"
    assert Decision.objects.get().outcome >= Outcome.REVIEW and OutboxEvent.objects.count() == 0


# --- programs, lists and labels while running ----------------------------------------------------------------------------


def test_without_a_champion_the_rules_decide_and_nothing_is_approved(engine):
    told = answer(decide(engine, payment(1))[0])
    assert (told["mode"], told["degraded"], told["outcome"], told["probability"]) == ("rules_only", True, "review", None)
    assert engine.program_version.startswith("rules-")


def test_a_new_champion_serves_after_a_refresh(engine, make_champion):
    decide(engine, payment(1))
    make_champion("v1")
    engine.refresh()
    assert answer(decide(engine, payment(2))[0])["versions"]["program"] == "v1"
    make_champion("v2")
    engine.refresh()
    assert answer(decide(engine, payment(3))[0])["versions"]["program"] == "v2"


def test_a_champion_that_was_changed_on_disk_never_serves(engine, make_champion, settings):
    make_champion("v1")
    engine.refresh()
    make_champion("v2")
    file = settings.ARTIFACT_DIR / "v2" / "program.json"
    file.write_bytes(file.read_bytes().replace(b'"decline"', b'"approve"', 1))
    for _ in range(2):
        engine.refresh()
        assert engine.program_version == "v1"


def test_a_signed_folder_of_another_release_never_serves(engine, make_champion, settings):
    """An old, genuine program in the new one's place would otherwise undo a roll-out unseen."""
    make_champion("v1")
    make_champion("v2")
    (settings.ARTIFACT_DIR / "v2").rename(settings.ARTIFACT_DIR / "away")
    (settings.ARTIFACT_DIR / "v1").rename(settings.ARTIFACT_DIR / "v2")
    engine.refresh()
    assert engine.program_version.startswith("rules-")


def test_a_champion_of_another_schema_never_serves(engine, make_champion):
    from scoring.engine import FeatureSchema

    schema = FeatureSchema(current_schema().columns[:-1])
    make_champion("v1", risk_program(version="v1", schema=schema, forest=False, rules=()))
    engine.refresh()
    assert engine.program_version.startswith("rules-")


def test_lists_are_followed_and_expire(engine):
    entry = ListEntry.objects.create(list_name="blocked_devices", value="dev-bad", created_by="test")
    assert answer(decide(engine, payment(1, device_id="dev-bad"))[0])["outcome"] == "review", "not noticed yet"
    engine.refresh()
    told = answer(decide(engine, payment(2, device_id="dev-bad"))[0])
    assert told["outcome"] == "decline"
    assert {"rule_id": "blocked_device", "outcome": "hit"} in told["rules"]
    assert told["reasons"][0]["source"] == "list" and told["reasons"][0]["rule_id"] == "blocked_device"
    entry.expires_at = timezone.now() - timedelta(seconds=1)
    entry.save()
    engine.refresh()
    assert answer(decide(engine, payment(3, device_id="dev-bad"))[0])["outcome"] == "review"


def test_labels_reach_the_risk_features_after_a_refresh_and_can_be_corrected(engine):
    decide(engine, payment(1), payment(2), payment(3))
    later = payment(9, 8 * DAY)
    assert features(engine, later)["terminal.risk_fraud.7d"] == 0

    def label(name: str, kind: str, day: int) -> None:
        reported = (NOON + day * DAY).isoformat()
        (result,) = record_labels([{"transaction_id": name, "label": kind, "source": "network", "reported_at": reported}], "test")
        assert result["status"] == 201
        engine.refresh()

    label("tx-1", "fraud", 1)
    label("tx-2", "chargeback", 1)
    assert features(engine, later)["terminal.risk_fraud.7d"] == 2
    label("tx-1", "dispute", 2)
    assert features(engine, later)["terminal.risk_fraud.7d"] == 2, "a dispute is not settled"
    label("tx-1", "legitimate", 3)
    assert features(engine, later)["terminal.risk_fraud.7d"] == 1
    label("tx-1", "fraud", 2)
    assert features(engine, later)["terminal.risk_fraud.7d"] == 1, "an older report that comes late does not win"
    assert features(engine, later)["terminal.risk_rate.7d"] == pytest.approx(1 / 3)


# --- dry runs ------------------------------------------------------------------------------------------------------------


def test_a_dry_run_changes_nothing_at_all(engine):
    decide(engine, payment(1))
    tables = (Decision, OutboxEvent, Alert, Label, EngineSample)

    def trace() -> tuple:
        counters = {name: value for name, value in vars(engine.counters).items() if name not in ("_sampled", "process")}
        state = engine.state
        return (
            [table.objects.count() for table in tables],
            str(counters),
            state.tokens.sizes(),
            state.event_count(),
            state.memory_bytes(),
            state.clock_us,
        )

    before = trace()
    stranger = payment(
        2, DAY, customer_id="cust-new", card_id="card-new", device_id="dev-new", account_id="acc-new", type="cash_deposit"
    )
    for body in (payment(1), payment(3, HOUR), stranger):
        told = json.loads(engine.dry_run(sent(body))[0])
        assert told["transaction_id"] == body["transaction_id"]
    assert trace() == before


def test_a_dry_run_says_what_the_decision_will_say(engine):
    decide(engine, payment(1), payment(2, HOUR))
    body = payment(3, 2 * HOUR)
    tried = json.loads(engine.dry_run(sent(body))[0])
    told = answer(decide(engine, body)[0])
    for name in ("outcome", "score", "probability", "reasons", "rules", "mode", "versions"):
        assert tried[name] == told[name]


# --- counters ------------------------------------------------------------------------------------------------------------


def test_counters_add_up(engine):
    decide(engine, payment(1), payment(2), payment(1), payment(1, amount_minor=1))
    decide(engine, payment(2))
    counters = engine.counters
    assert (counters.decisions, counters.replays, counters.errors, counters.batches, counters.degraded) == (2, 2, 1, 2, 2)
    assert counters.outcomes[Outcome.REVIEW] == 2 and sum(counters.outcomes) == 2


def test_one_commit_for_a_whole_batch(engine, django_assert_max_num_queries):
    with django_assert_max_num_queries(12):
        decide(engine, *[payment(i) for i in range(200)])
