"""Reports come late, some never, and some are about honest payments."""

from collections import Counter

import msgspec
import numpy as np
import pytest

from scoring.services.record_labels import LabelInput
from scoring.simulator import TYPOLOGIES, SimulationConfig, simulate

DAY_US = 86_400_000_000


@pytest.fixture(scope="module")
def season():
    return simulate(SimulationConfig(seed=6, days=60, customers=1500, merchants=150))


def at(text: str) -> int:
    return int(np.datetime64(text[:-1], "us").astype(np.int64))


def test_every_label_is_one_that_the_api_accepts_with_an_id_of_its_own(season):
    labels = [msgspec.convert(label, LabelInput) for label in season.labels]
    assert len(labels) > 500
    assert len({label.label_id for label in labels}) == len(labels)
    assert {label.source for label in labels} == {"simulator"}


def test_labels_come_in_the_order_of_their_reports(season):
    times = [at(label["reported_at"]) for label in season.labels]
    assert times == sorted(times)
    assert times == [at_us for at_us, _ in season.timed_labels()]


def test_a_fraud_label_names_payment_typology_and_time_as_they_were(season):
    row_of = {name: row for row, name in enumerate(season.columns.transaction_ids())}
    frauds = [label for label in season.labels if label["label"] == "fraud"]
    for label in frauds:
        row = row_of[label["transaction_id"]]
        assert label["fraud_type"] == TYPOLOGIES[season.typology[row] - 1]
        assert at(label["occurred_at"]) == season.columns.occurred_us[row]
        assert at(label["reported_at"]) == season.reported_us[row] > season.columns.occurred_us[row]
    assert len(frauds) == (season.reported_us >= 0).sum()


def test_most_reports_come_within_a_week_and_delays_depend_on_the_typology(season):
    known = season.reported_us >= 0
    delay = (season.reported_us - season.columns.occurred_us)[known] / DAY_US
    assert delay.min() > 30 / 1440
    assert 0.85 < np.mean(delay < 7) < 0.995
    median = {name: np.median(delay[season.typology[known] == 1 + i]) for i, name in enumerate(TYPOLOGIES)}
    assert median["stolen_card"] < 1.6 < median["structuring"]


def test_a_few_per_cent_are_never_reported(season):
    unreported = season.reported_us[season.columns.label == 1] < 0
    assert 0.01 < unreported.mean() < 0.12


def test_a_few_honest_payments_are_disputed_and_then_cleared(season):
    kinds = Counter(label["label"] for label in season.labels)
    assert 0.0002 < kinds["dispute"] / len(season) < 0.001
    disputed = {label["transaction_id"]: at(label["reported_at"]) for label in season.labels if label["label"] == "dispute"}
    cleared = {label["transaction_id"]: at(label["reported_at"]) for label in season.labels if label["label"] == "legitimate"}
    assert disputed.keys() == cleared.keys()
    assert all(disputed[name] < cleared[name] for name in disputed)
    row_of = {name: row for row, name in enumerate(season.columns.transaction_ids())}
    assert all(season.columns.label[row_of[name]] == 0 for name in disputed)
    assert all("fraud_type" not in label for label in season.labels if label["label"] != "fraud")
