"""AP and its quick interval against scikit-learn and a plain bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from scoring.selectors.ranking import average_precision_interval


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_value_equals_scikit_learn_with_many_ties(rows):
    fraud = np.array([r[0] for r in rows])
    scores = np.array([r[1] for r in rows], float)
    found = average_precision_interval(fraud, scores)
    if not fraud.any():
        assert found is None
    else:
        assert found.value == pytest.approx(average_precision_score(fraud, scores), abs=1e-12)
        assert 0 <= found.low <= found.high <= 1


def test_interval_agrees_with_a_plain_bootstrap_of_the_rows():
    rng = np.random.default_rng(11)
    fraud = rng.random(3000) < 0.05
    scores = np.round(rng.normal(size=3000) + 1.5 * fraud, 1)
    picks = rng.integers(0, 3000, (400, 3000))
    plain = [average_precision_score(fraud[p], scores[p]) for p in picks]
    found = average_precision_interval(fraud, scores)
    assert (found.low, found.high) == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.025)
    assert found.low < found.value < found.high


def test_the_same_rows_give_the_same_interval():
    fraud, scores = np.array([True, False, True, False]), np.array([4.0, 3.0, 2.0, 1.0])
    assert average_precision_interval(fraud, scores) == average_precision_interval(fraud, scores)
