"""A snapshot sees what was there when it was taken, as it was known then, and only what has matured."""

from datetime import timedelta

import numpy as np
import pytest

from scoring.features.schema import current_schema
from scoring.learning import snapshot as snapshots
from scoring.learning.snapshot import LeftOut, RowHeaders, Snapshot, freeze, iter_headers, new_matured_frauds, read_features
from scoring.models import Decision
from tests.scoring.learning.ledger import FIRST_DAY, add_decision, add_label

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]

WEEK = timedelta(days=7)


def day(number: float):
    return FIRST_DAY + timedelta(days=number)


def rows_of(snapshot: Snapshot, left_out: LeftOut | None = None) -> RowHeaders:
    chunks = iter_headers(snapshot, current_schema().version, since=day(-100), until=snapshot.matured_until, left_out=left_out)
    return RowHeaders.concatenate(list(chunks))


def label_by_seq(snapshot: Snapshot) -> dict[int, int]:
    rows = rows_of(snapshot)
    return dict(zip(rows.seq.tolist(), rows.label.tolist(), strict=True))


def test_an_empty_ledger_has_no_snapshot():
    assert freeze(WEEK) is None


def test_as_of_is_the_newest_event_time_not_the_last_row():
    add_decision(day(20))
    add_decision(day(12))
    snapshot = freeze(WEEK)
    assert snapshot.as_of == day(20)
    assert snapshot.matured_until == day(13)


def test_only_matured_rows_are_read_and_the_boundary_is_exclusive():
    inside = add_decision(day(12.99))
    add_decision(day(13))
    add_decision(day(20))
    assert rows_of(freeze(WEEK)).seq.tolist() == [inside.seq]


def test_a_fraud_that_is_known_before_it_has_matured_is_not_used():
    early = add_decision(day(15))
    add_decision(day(20))
    add_label(early, "fraud", day(16))
    assert len(rows_of(freeze(WEEK))) == 0


def test_reading_beyond_the_matured_range_is_refused():
    add_decision(day(20))
    snapshot = freeze(WEEK)
    with pytest.raises(ValueError, match="have matured"):
        next(iter_headers(snapshot, current_schema().version, since=day(0), until=day(14)))


def test_no_label_means_good_and_a_chargeback_means_fraud():
    unlabelled, charged_back, legitimate = (add_decision(day(i)) for i in range(3))
    add_decision(day(20))
    add_label(charged_back, "chargeback", day(6))
    add_label(legitimate, "legitimate", day(6))
    assert label_by_seq(freeze(WEEK)) == {unlabelled.seq: 0, charged_back.seq: 1, legitimate.seq: 0}


def test_the_latest_report_wins_whatever_the_order_of_arrival():
    cleared, confirmed, tied = (add_decision(day(i)) for i in range(3))
    add_decision(day(20))
    add_label(cleared, "legitimate", day(9))
    add_label(cleared, "fraud", day(8))
    add_label(confirmed, "legitimate", day(8))
    add_label(confirmed, "fraud", day(9))
    add_label(tied, "fraud", day(8))
    add_label(tied, "legitimate", day(8))
    assert label_by_seq(freeze(WEEK)) == {cleared.seq: 0, confirmed.seq: 1, tied.seq: 0}


def test_an_unsettled_dispute_is_left_out_and_counted():
    disputed, settled = add_decision(day(0)), add_decision(day(1))
    add_decision(day(20))
    add_label(disputed, "dispute", day(5))
    add_label(settled, "dispute", day(5))
    add_label(settled, "fraud", day(6))
    left_out = LeftOut()
    assert rows_of(freeze(WEEK), left_out).seq.tolist() == [settled.seq]
    assert left_out.unsettled == 1


def test_rows_of_another_schema_are_left_out_and_counted():
    add_decision(day(0), feature_schema="0123456789abcdef")
    kept = add_decision(day(1))
    add_decision(day(20))
    left_out = LeftOut()
    assert rows_of(freeze(WEEK), left_out).seq.tolist() == [kept.seq]
    assert left_out.other_schema == {"0123456789abcdef": 1}


def test_later_rows_and_labels_do_not_change_a_snapshot():
    first = add_decision(day(0))
    add_decision(day(20))
    snapshot = freeze(WEEK)
    before = label_by_seq(snapshot)

    late = add_decision(day(3))
    add_decision(day(60))
    add_label(first, "fraud", day(6))
    add_label(late, "fraud", day(6))

    assert label_by_seq(snapshot) == before == {first.seq: 0}
    assert label_by_seq(freeze(WEEK))[first.seq] == 1


def test_a_snapshot_survives_its_stored_form():
    add_decision(day(20.123456))
    snapshot = freeze(timedelta(days=1.5))
    assert Snapshot.from_json(snapshot.to_json()) == snapshot


def test_rows_come_by_event_time_across_chunks_each_once(monkeypatch):
    monkeypatch.setattr(snapshots, "CHUNK_ROWS", 3)
    # Several rows of one instant straddle the chunk boundaries.
    offsets = [5, 1, 1, 1, 1, 1, 4, 0, 2, 2, 2, 2]
    decisions = [add_decision(day(offset)) for offset in offsets]
    add_decision(day(20))
    rows = rows_of(freeze(WEEK))
    expected = sorted(decisions, key=lambda decision: (decision.occurred_at, decision.seq))
    assert rows.seq.tolist() == [decision.seq for decision in expected]
    assert (np.diff(rows.occurred_us) >= 0).all()
    assert rows.occurred_us[0] == int(day(0).timestamp() * 1_000_000)


def test_features_come_back_in_the_order_asked_for_with_nan_kept(monkeypatch):
    monkeypatch.setattr(snapshots, "CHUNK_ROWS", 2)
    width = current_schema().width
    vectors = np.arange(3 * width, dtype=np.float32).reshape(3, width)
    vectors[1, 5] = np.nan
    seqs = [add_decision(day(i), vector).seq for i, vector in enumerate(vectors)]
    read = read_features(np.array([seqs[2], seqs[0], seqs[1]]), width)
    np.testing.assert_array_equal(read, vectors[[2, 0, 1]])


def test_a_row_with_a_wrong_number_of_features_is_named():
    good, row = add_decision(day(0)), add_decision(day(0), np.zeros(3))
    width = current_schema().width
    with pytest.raises(ValueError, match=f"ledger row {row.seq}: .* holds 3 features where {width} are expected"):
        read_features(np.array([good.seq, row.seq]), width)


@pytest.mark.parametrize("damaged", [b"", b"\x01", b"\x00\x00\x80\x3f" * 3])
def test_a_damaged_row_is_named(damaged):
    good, row = add_decision(day(0)), add_decision(day(0))
    Decision.objects.filter(pk=row.pk).update(features=damaged)
    with pytest.raises(ValueError, match=f"ledger row {row.seq}"):
        read_features(np.array([good.seq, row.seq]), current_schema().width)


def test_new_matured_frauds_counts_new_labels_and_newly_matured_ones():
    known, reported_later, matured_later = add_decision(day(1)), add_decision(day(2)), add_decision(day(14))
    add_decision(day(20))
    add_label(known, "fraud", day(5))
    add_label(matured_later, "fraud", day(15))
    previous = freeze(WEEK)
    assert new_matured_frauds(previous, None) == 1
    assert new_matured_frauds(previous, previous) == 0

    add_label(reported_later, "chargeback", day(21))
    add_label(reported_later, "fraud", day(22))
    add_label(known, "legitimate", day(22))
    add_decision(day(23))
    assert new_matured_frauds(freeze(WEEK), previous) == 2


def test_the_number_of_queries_is_bounded_by_chunks(django_assert_max_num_queries):
    for i in range(20):
        add_decision(day(i / 10))
    add_decision(day(20))
    snapshot = freeze(WEEK)
    with django_assert_max_num_queries(4):
        assert len(rows_of(snapshot)) == 20
    assert Decision.objects.count() == 21
