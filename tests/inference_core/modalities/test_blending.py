"""A blend finds what each of the two knows, and gives no weight to what says nothing."""

import numpy as np
import pytest

from inference_core.modalities import fit_blend


def sources(n: int = 20_000):
    generator = np.random.default_rng(4)
    a, b = generator.normal(size=(2, n))
    labels = (generator.random(n) < 1 / (1 + np.exp(-(0.7 * a + 0.4 * b - 2)))).astype(np.int8)
    return a, b, labels


def test_the_weights_of_the_truth_are_found():
    a, b, labels = sources()
    blend = fit_blend(a, b, labels)
    assert (blend.forest_weight, blend.net_weight, blend.offset) == pytest.approx((0.7, 0.4, -2), abs=0.1)


def test_what_misleads_gets_no_weight():
    a, b, labels = sources()
    blend = fit_blend(a, -b, labels)
    assert blend.net_weight == 0 and blend.forest_weight > 0.5
    assert fit_blend(-a, b, labels).forest_weight == 0


def test_where_neither_ranks_the_forest_stands_alone():
    a, b, labels = sources()
    blend = fit_blend(-a, -b, labels)
    assert (blend.forest_weight, blend.net_weight, blend.offset) == (1.0, 0.0, 0.0)


def test_one_class_or_numbers_that_are_not_finite_are_refused():
    a, b, labels = sources(100)
    with pytest.raises(ValueError, match="finite"):
        fit_blend(np.full(100, np.nan), b, labels)
    with pytest.raises(ValueError, match="one fraud"):
        fit_blend(a, b, np.zeros(100))
