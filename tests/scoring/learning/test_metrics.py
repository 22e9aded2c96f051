"""The figures equal scikit-learn's on awkward input, and the intervals behave as intervals should."""

import numpy as np
import pytest
from sklearn import metrics as sk

from scoring.learning import metrics


def rows(seed, n=500, fraud_rate=0.05, decimals=None):
    generator = np.random.default_rng(seed)
    labels = (generator.random(n) < fraud_rate).astype(int)
    labels[:2] = 0, 1
    scores = generator.normal(size=n) + labels
    return labels, scores if decimals is None else scores.round(decimals)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("decimals", [None, 1, 0], ids=["no ties", "ties", "many ties"])
def test_ranking_figures_equal_scikit_learn(seed, decimals):
    labels, scores = rows(seed, decimals=decimals)
    assert metrics.average_precision(labels, scores) == pytest.approx(sk.average_precision_score(labels, scores), abs=1e-12)
    assert metrics.auc_roc(labels, scores) == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-12)
    false_positive_rate, true_positive_rate, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    expected = true_positive_rate[false_positive_rate <= 0.01].max()
    assert metrics.recall_at_fpr(labels, scores, max_fpr=0.01) == pytest.approx(expected, abs=1e-12)


def test_weights_are_counts_of_rows():
    labels, scores = rows(3, n=80, decimals=1)
    counts = np.random.default_rng(0).integers(0, 4, 80)
    counts[1] = 1
    drawn = np.repeat(np.arange(80), counts)
    for metric in (metrics.average_precision, metrics.auc_roc, metrics.recall_at_fpr):
        assert metric(labels, scores, counts) == pytest.approx(metric(labels[drawn], scores[drawn]), abs=1e-12)


def test_all_scores_equal_gives_the_fraud_rate_and_one_half():
    labels, scores = np.array([1, 0, 0, 0]), np.zeros(4)
    assert metrics.average_precision(labels, scores) == 0.25
    assert metrics.auc_roc(labels, scores) == 0.5
    assert metrics.recall_at_fpr(labels, scores) == 0.0


def test_recall_at_fpr_includes_the_exact_limit():
    labels = np.array([1] + [0] * 100)
    scores = np.array([99.5] + list(range(1, 101)))
    assert metrics.recall_at_fpr(labels, scores, max_fpr=0.01) == 1.0
    assert metrics.recall_at_fpr(labels, scores, max_fpr=0.0099) == 0.0


def test_precision_recall_and_brier_equal_scikit_learn():
    labels, scores = rows(7)
    flagged = scores > 0.8
    assert metrics.precision(labels, flagged) == pytest.approx(sk.precision_score(labels, flagged))
    assert metrics.recall(labels, flagged) == pytest.approx(sk.recall_score(labels, flagged))
    probabilities = 1 / (1 + np.exp(-scores))
    assert metrics.brier(labels, probabilities) == pytest.approx(sk.brier_score_loss(labels, probabilities))


@pytest.mark.parametrize("metric", [metrics.average_precision, metrics.auc_roc, metrics.recall_at_fpr, metrics.recall])
def test_a_figure_without_frauds_is_refused_rather_than_zero(metric):
    with pytest.raises(metrics.MetricUndefined):
        metric(np.zeros(5), np.ones(5))


@pytest.mark.parametrize("metric", [metrics.average_precision, metrics.brier, metrics.precision])
def test_no_rows_at_all_are_refused(metric):
    with pytest.raises(metrics.MetricUndefined):
        metric([], [])


def test_a_missing_score_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        metrics.average_precision([0, 1], [0.5, np.nan])


def test_labels_other_than_zero_and_one_are_refused():
    with pytest.raises(ValueError, match="0 or 1"):
        metrics.average_precision([0, 2], [0.5, 0.6])


def test_card_precision_ranks_cards_by_their_highest_score_and_forgets_caught_cards():
    cards = ["a", "a", "b", "c", "a", "b", "c"]
    days = [1, 1, 1, 1, 2, 2, 2]
    labels = [0, 1, 0, 0, 1, 1, 0]
    scores = [0.1, 0.9, 0.8, 0.2, 1.0, 0.7, 0.6]
    # Day 1: a, b of which a is compromised: 1/2. Day 2: a was caught, so b, c of which b: 1/2.
    assert metrics.card_precision_at_k(labels, scores, cards, days, k=2) == 0.5
    # With k=1: a on day 1, b on day 2.
    assert metrics.card_precision_at_k(labels, scores, cards, days, k=1) == 1.0
    # k is the denominator, also where fewer cards were active.
    assert metrics.card_precision_at_k(labels, scores, cards, days, k=10) == pytest.approx(0.1)


def test_bootstrap_is_seeded_and_contains_its_estimate():
    labels, scores = rows(11)
    first = metrics.bootstrap_interval(metrics.average_precision, labels, scores, resamples=200, seed=4)
    assert first == metrics.bootstrap_interval(metrics.average_precision, labels, scores, resamples=200, seed=4)
    assert first != metrics.bootstrap_interval(metrics.average_precision, labels, scores, resamples=200, seed=5)
    assert first.low < first.estimate < first.high


def test_bootstrap_works_with_a_single_fraud():
    labels, scores = np.array([1] + [0] * 50), np.linspace(1, 0, 51)
    interval = metrics.bootstrap_interval(metrics.average_precision, labels, scores, resamples=50)
    assert interval == metrics.Interval(1.0, 1.0, 1.0)


def test_every_resample_holds_as_many_rows_of_each_class_as_the_sample():
    labels, scores = np.array([1] * 3 + [0] * 40), np.linspace(1, 0, 43)
    drawn = set()

    def count_classes(labels, scores, weights):
        drawn.add((weights[labels == 1].sum(), weights[labels == 0].sum()))
        return 0.0

    metrics.bootstrap_interval(count_classes, labels, scores, resamples=50)
    assert drawn == {(3.0, 40.0)}


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        labels = np.repeat([1, 0], [60, 60])
        scores = generator.normal(size=120) + labels
        interval = metrics.bootstrap_interval(metrics.auc_roc, labels, scores, resamples=200, seed=trial)
        hits += interval.low <= 0.7602 <= interval.high  # Phi(1 / sqrt(2))
    assert 0.90 <= hits / 200 <= 0.985


def test_paired_difference_is_narrower_than_two_single_intervals():
    labels, scores = rows(13, n=2000)
    better = scores + 0.3 * labels
    paired = metrics.paired_bootstrap_difference(metrics.average_precision, labels, better, scores, resamples=300)
    single = metrics.bootstrap_interval(metrics.average_precision, labels, scores, resamples=300)
    assert paired.low > 0
    assert paired.high - paired.low < single.high - single.low
    expected = sk.average_precision_score(labels, better) - sk.average_precision_score(labels, scores)
    assert paired.estimate == pytest.approx(expected)


def test_paired_difference_of_a_ranking_with_itself_is_zero():
    labels, scores = rows(17)
    same = metrics.paired_bootstrap_difference(metrics.average_precision, labels, scores, scores, resamples=20)
    assert same == metrics.Interval(0.0, 0.0, 0.0)


def test_precision_interval_skips_resamples_without_an_alarm_but_not_silently_all():
    labels = np.array([1, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    interval = metrics.bootstrap_interval(metrics.precision, labels, labels, resamples=50)
    assert interval.estimate == 1.0
    with pytest.raises(metrics.MetricUndefined):
        metrics.bootstrap_interval(metrics.precision, labels, np.zeros(10), resamples=50)
