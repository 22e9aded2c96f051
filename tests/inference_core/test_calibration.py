"""From margin to probability."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core import Calibration, fit_platt


@given(
    st.floats(0.01, 20), st.floats(-10, 10),
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=20),
)  # fmt: skip
def test_ranking_is_unchanged_and_probabilities_are_probabilities(slope, intercept, margins):
    probability = Calibration(slope, intercept).probability(np.sort(np.array(margins, np.float32)))
    assert ((probability >= 0) & (probability <= 1)).all()
    assert (np.diff(probability) >= 0).all()


def test_identity_is_the_plain_sigmoid():
    margins = np.array([-3.0, 0.0, 1.5], np.float32)
    np.testing.assert_allclose(Calibration.identity().probability(margins), 1 / (1 + np.exp(-margins.astype(float))))


def test_extremes_do_not_overflow_and_unknown_stays_unknown():
    with np.errstate(all="raise"):
        probability = Calibration(2.0, 1.0).probability(np.array([-np.inf, np.inf, np.nan, 3e38, -3e38]))
    assert probability[0] < 1e-300 and probability[1] == 1 and np.isnan(probability[2])
    assert probability[3] == 1 and probability[4] < 1e-300


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.4, -2.0), (2.5, 1.0)])
def test_fit_recovers_what_the_labels_were_drawn_from(slope, intercept):
    rng = np.random.default_rng(5)
    margins = rng.normal(0, 2, 40_000)
    labels = rng.random(40_000) < Calibration(slope, intercept).probability(margins)
    fitted = fit_platt(margins, labels)
    assert fitted.slope == pytest.approx(slope, rel=0.06) and fitted.intercept == pytest.approx(intercept, abs=0.08)


def test_fit_makes_the_mean_probability_the_fraud_rate():
    rng = np.random.default_rng(6)
    margins, labels = rng.normal(-4, 1, 5_000), rng.random(5_000) < 0.02
    assert fit_platt(margins, labels).probability(margins).mean() == pytest.approx(labels.mean(), rel=0.05)


@pytest.mark.parametrize(
    "margins",
    [np.array([3.0, 2.0, 1.0, 0.0] * 50), np.zeros(200), np.full(200, 40.0)],
    ids=["margins that rank backwards", "constant", "constant and large"],
)
def test_margins_that_do_not_rank_keep_a_positive_slope(margins):
    labels = np.array([0, 0, 1, 1] * 50)
    fitted = fit_platt(margins, labels)
    assert fitted.slope > 0 and math.isfinite(fitted.intercept)


def test_perfect_separation_stays_finite():
    fitted = fit_platt(np.concatenate([np.full(50, -8.0), np.full(5, 8.0)]), np.repeat([0, 1], [50, 5]))
    assert math.isfinite(fitted.slope)
    assert fitted.probability(np.array([8.0]))[0] == pytest.approx(6 / 7, abs=0.02), "Platt's smoothed target"


@pytest.mark.parametrize("labels", [np.zeros(5), np.ones(5), np.zeros(0)])
def test_one_class_alone_cannot_be_fitted(labels):
    with pytest.raises(ValueError, match="at least one fraud and one legitimate"):
        fit_platt(np.arange(len(labels), dtype=float), labels)


@pytest.mark.parametrize(("slope", "intercept"), [(0, 0), (-1, 0), (math.nan, 0), (math.inf, 0), (1, math.nan), (1, -math.inf)])
def test_a_calibration_that_turns_the_ranking_is_refused(slope, intercept):
    with pytest.raises(ValueError, match="slope must be positive"):
        Calibration(slope, intercept)
