"""Pruning at a threshold, and the loss that a teacher adds."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inference_core.sparsity import distillation_loss, dynamic_pruning, quantile_threshold, sparsity_of

NAN = float("nan")


def test_values_below_the_threshold_become_zero_and_one_at_it_stays():
    weight = torch.tensor([[0.5, -0.1, 0.0], [-0.5, 0.49, -2.0]])
    pruned, sparsity = dynamic_pruning(weight, 0.5)
    assert pruned.tolist() == [[0.5, 0.0, 0.0], [-0.5, 0.0, -2.0]]
    assert isinstance(sparsity, float) and sparsity == 0.5
    assert weight[0, 1] == torch.tensor(-0.1)


def test_each_output_may_have_a_threshold_of_its_own():
    pruned, sparsity = dynamic_pruning(torch.tensor([[1.0, 2.0], [1.0, 2.0]]), torch.tensor([[1.5], [3.0]]))
    assert pruned.tolist() == [[0.0, 2.0], [0.0, 0.0]] and sparsity == 0.75


def test_a_value_that_is_no_number_is_kept():
    pruned, sparsity = dynamic_pruning(torch.tensor([NAN, 0.1]), 1.0)
    assert math.isnan(pruned[0]) and pruned[1] == 0 and sparsity == 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
def test_dtype_is_kept_and_the_smallest_integer_has_the_largest_magnitude(dtype):
    pruned, _ = dynamic_pruning(torch.tensor([-128, 127, 3], dtype=dtype), 127.5 if dtype == torch.int8 else 100)
    assert pruned.dtype == dtype and pruned[0] == -128 and pruned[2] == 0


@pytest.mark.parametrize("threshold", [-0.1, NAN, torch.tensor([0.1, -1.0])])
def test_a_threshold_that_means_nothing_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold must be 0 or more"):
        dynamic_pruning(torch.ones(2), threshold)


def test_gradients_reach_the_kept_values_alone():
    weight = torch.tensor([0.1, 2.0], requires_grad=True)
    dynamic_pruning(weight, 1.0)[0].sum().backward()
    assert weight.grad.tolist() == [0.0, 1.0]


def test_nothing_has_no_zeros():
    assert dynamic_pruning(torch.zeros(0, 3), 1.0)[1] == 0.0


@given(st.integers(1, 300), st.floats(0, 1), st.integers(0, 1000))
def test_a_quantile_prunes_the_share_that_was_asked_for(count, share, seed):
    weight = torch.randn(count, generator=torch.Generator().manual_seed(seed))
    pruned, sparsity = dynamic_pruning(weight, quantile_threshold(weight.abs(), share))
    assert sparsity == pytest.approx(round(share * count) / count)
    assert sparsity_of(pruned) == sparsity


def test_equal_values_are_all_kept_rather_than_all_lost():
    assert quantile_threshold(torch.ones(10), 0.5) == 1.0
    assert dynamic_pruning(torch.ones(10), quantile_threshold(torch.ones(10), 0.5))[1] == 0.0


@pytest.mark.parametrize(("scores", "share"), [(torch.ones(2), 1.1), (torch.ones(2), -0.1), (torch.ones(0), 0.5)])
def test_a_quantile_of_nothing_is_refused(scores, share):
    with pytest.raises(ValueError, match="sparsity must be from 0 to 1"):
        quantile_threshold(scores, share)


def test_a_pupil_that_equals_its_teacher_costs_what_the_targets_cost():
    logits, targets = torch.tensor([0.3, -2.0]), torch.tensor([1.0, 0.0])
    hard = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
    assert distillation_loss(logits, logits, targets, share=0.25) == pytest.approx(0.75 * hard.item())
    assert distillation_loss(logits, logits, targets, share=1.0) == pytest.approx(0.0, abs=1e-6)


def test_a_pupil_is_pulled_towards_its_teacher_who_is_left_alone():
    logits, teacher = torch.zeros(1, requires_grad=True), torch.tensor([2.0], requires_grad=True)
    distillation_loss(logits, teacher, torch.tensor([0.5]), share=1.0).backward()
    assert logits.grad.item() < 0 and teacher.grad is None


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"share": 1.5}])
def test_a_loss_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match="temperature must be above 0"):
        distillation_loss(torch.zeros(1), torch.zeros(1), torch.zeros(1), **wrong)
