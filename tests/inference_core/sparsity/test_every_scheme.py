"""What holds for every pruning scheme; one is tested by being a file of inference_core/sparsity/schemes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from inference_core.sparsity import SCHEMES, Blocks, TwoOfFour, schemes

EXAMPLES = [pytest.param(example, id=repr(example)) for scheme in SCHEMES for example in scheme.examples()]
SHAPES = [(1, 1), (3, 5), (16, 12), (64, 130), (6, 4, 3, 3)]
each_scheme = pytest.mark.parametrize("scheme", EXAMPLES)
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def scores_of(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) + 0.01


def test_the_schemes_are_found():
    """A file of the folder whose scheme is not named in SCHEMES would escape this suite."""
    files = {path.stem for path in Path(schemes.__file__).parent.glob("*.py")} - {"__init__", "base"}
    assert {scheme.__module__.rpartition(".")[2] for scheme in SCHEMES} == files
    assert all(scheme.examples() for scheme in SCHEMES)


@each_shape
@each_scheme
def test_a_mask_follows_its_own_pattern(scheme, shape):
    scores = scores_of(shape)
    mask = scheme.mask(scores, 0.5)
    assert mask.dtype == torch.bool and mask.shape == scores.shape
    assert scheme.allows(scores * mask)


@each_shape
@each_scheme
def test_nothing_goes_where_nothing_is_asked_for(scheme, shape):
    assert scheme.mask(scores_of(shape), 0.0).all()


@each_scheme
def test_the_share_is_the_one_asked_for_as_near_as_the_pattern_can(scheme):
    mask = scheme.mask(scores_of((128, 256)), 0.5)
    assert 1 - mask.float().mean() == pytest.approx(0.5, abs=0.02)


@each_scheme
def test_more_zeros_keep_no_weight_that_fewer_zeros_lost(scheme):
    scores = scores_of((24, 40))
    masks = [scheme.mask(scores, share) for share in (0.3, 0.5, 0.7, 0.9)]
    assert all(not (more & ~fewer).any() for fewer, more in zip(masks, masks[1:], strict=False))


@each_scheme
def test_the_best_weight_is_kept_and_scores_are_left_alone(scheme):
    scores = scores_of((16, 24))
    scores[5, 7] = 100.0
    before = scores.clone()
    assert scheme.mask(scores, 0.5)[5, 7]
    assert torch.equal(scores, before)


@each_scheme
def test_equal_scores_give_a_valid_mask_and_the_same_one_each_time(scheme):
    scores = torch.ones(16, 24)
    assert scheme.allows(scheme.mask(scores, 0.5).float())
    assert torch.equal(scheme.mask(scores, 0.5), scheme.mask(scores, 0.5))


@pytest.mark.parametrize("scheme", [TwoOfFour(), Blocks(2, 2)])
def test_a_broken_pattern_is_told(scheme):
    weight = torch.zeros(4, 4)
    weight[0, :3] = 1.0
    assert not scheme.allows(weight)


def test_balanced_blocks_keep_as_many_in_each_row_of_blocks():
    scores = scores_of((32, 64))
    scores[:8] += 10  # which would keep all of its blocks otherwise
    mask = Blocks(8, 8, balanced=True).mask(scores, 0.75)
    assert mask.reshape(4, 8, 8, 8).amax((1, 3)).sum(1).tolist() == [2, 2, 2, 2]


def test_a_block_of_a_convolution_is_outputs_by_channels_of_one_place():
    scores = torch.ones(4, 4, 3, 3)
    scores[:2, 2:, 0, 1] = 0.1
    mask = Blocks(2, 2).mask(scores, 1 / 36)
    assert mask.sum() == 4 * 4 * 9 - 4 and not mask[:2, 2:, 0, 1].any()


def test_a_block_needs_a_size():
    with pytest.raises(ValueError, match="at least one output"):
        Blocks(0, 4)
