"""What holds for every storage format; one is tested by being a file of inference_core/sparsity/formats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from inference_core.errors import ArtifactRefused
from inference_core.sparsity import FORMATS, formats, load_sparse, save_sparse, stored_bytes
from inference_core.sparsity.formats.base import DTYPES
from tests.strategies import examples

SHAPES = [(1, 1), (3, 5), (8, 16), (70, 33), (4, 6, 3, 3)]
each_format = pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def weight_of(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    dense = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return (dense * 40).round().clamp(-127, 127).to(dtype) if dtype == torch.int8 else dense.to(dtype)


def assert_kept(form, weight: torch.Tensor, back: torch.Tensor) -> None:
    assert back.dtype == weight.dtype and back.shape == weight.shape
    if form.exact:
        assert torch.equal(back, weight)
    assert ((back.float() - weight.float()).abs() <= form.tolerance(weight)).all()


def test_the_formats_are_found():
    """A file of the folder whose format is not named in FORMATS would escape this suite."""
    files = {path.stem for path in Path(formats.__file__).parent.glob("*.py")} - {"__init__", "base"}
    assert files == FORMATS.keys() == {type(form).__module__.rpartition(".")[2] for form in FORMATS.values()}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@each_dtype
@each_format
def test_a_weight_comes_back(form, dtype, shape):
    weight = form.example(weight_of(shape, dtype))
    assert_kept(form, weight, form.unpack(form.pack(weight)))


@examples(40)
@given(st.integers(1, 9), st.integers(1, 40), st.floats(0, 1), st.sampled_from(sorted(FORMATS)), st.integers(0, 99))
def test_any_zeros_come_back_where_the_format_takes_them(rows, columns, share, name, seed):
    form, generator = FORMATS[name], torch.Generator().manual_seed(seed)
    weight = form.example(torch.randn((rows, columns), generator=generator))
    weight = weight * (torch.rand((rows, columns), generator=generator) >= share)
    assert_kept(form, weight, form.unpack(form.pack(weight)))


@each_dtype
@each_format
def test_all_zeros_come_back(form, dtype):
    weight = torch.zeros((5, 9), dtype=dtype)
    assert_kept(form, weight, form.unpack(form.pack(weight)))


@pytest.mark.parametrize("form", [form for form in FORMATS.values() if form.exact], ids=lambda form: form.name)
def test_infinities_and_what_is_no_number_are_values(form):
    weight = torch.tensor([[float("nan"), 0, 0, float("-inf")]])
    back = form.unpack(form.pack(weight))
    assert back[0, 0].isnan() and back[0, 3] == float("-inf") and back[0, 1] == 0


@each_dtype
@each_format
def test_bytes_count_values_index_and_shape(form, dtype):
    packed = form.pack(form.example(weight_of((64, 128), dtype)))
    assert packed.stored_bytes == sum(len(part.reshape(-1).view(torch.uint8)) for part in packed.parts.values() if part.numel())
    assert stored_bytes({"a": packed, "bias": torch.zeros(64)}) == packed.stored_bytes + 256


@pytest.mark.parametrize(
    ("name", "dtype", "bytes_a_weight"),
    [
        ("bitmap", torch.float32, 1 / 8 + 1), ("bitmap", torch.bfloat16, 1 / 8 + 0.5), ("bitmap", torch.int8, 1 / 8 + 0.25),
        ("two_of_four", torch.float32, 2 + 1 / 8), ("two_of_four", torch.int8, 0.5 + 1 / 8),
        ("blocks", torch.float32, 1 + 1 / 8 / 64**2), ("dense_int8", torch.float32, 1 + 4 / 1024),
    ],
)  # fmt: skip
def test_bytes_a_weight_are_those_of_the_formula(name, dtype, bytes_a_weight):
    form = FORMATS[name]
    dense = torch.full((1024, 1024), 3, dtype=dtype)
    dense[::2] = 2
    packed = form.pack(form.example(dense))
    assert packed.stored_bytes / dense.numel() == pytest.approx(bytes_a_weight, abs=1e-4)


def test_a_quarter_of_the_bytes_needs_78_percent_zeros_in_float32_and_81_in_bfloat16():
    """What pruning alone has to reach for -75 % with the bitmap counted."""
    for dtype, zeros in ((torch.float32, 0.78125), (torch.bfloat16, 0.8125)):
        weight = torch.ones(1024, 1024, dtype=dtype)
        weight.reshape(-1)[: int(zeros * weight.numel())] = 0
        dense_bytes = weight.numel() * weight.element_size()
        assert FORMATS["bitmap"].pack(weight).stored_bytes <= 0.25 * dense_bytes + 64


@pytest.mark.parametrize("gap", [0, 1, 6, 7, 8, 300])
def test_even_gaps_of_any_length_come_back_and_take_less_than_a_bitmap(gap):
    weight = torch.zeros((64, 301), dtype=torch.int8)
    weight.reshape(-1)[gap :: gap + 1] = 5
    packed = FORMATS["gaps"].pack(weight)
    assert torch.equal(FORMATS["gaps"].unpack(packed), weight)
    assert (packed.stored_bytes < FORMATS["bitmap"].pack(weight).stored_bytes) is (gap > 0)


@each_format
def test_a_file_gives_back_what_went_in_and_is_hardly_larger(form, tmp_path):
    weights = {f"layer.{i}.weight": form.example(weight_of((64, 48), dtype, i)) for i, dtype in enumerate(DTYPES)}
    packed = {name: form.pack(weight) for name, weight in weights.items()} | {"layer.0.bias": torch.arange(3.0)}
    size = save_sparse(tmp_path / "net.safetensors", packed)
    assert 0 < size - stored_bytes(packed) < 2_500
    back = load_sparse(tmp_path / "net.safetensors")
    assert back.keys() == packed.keys() and back["layer.0.bias"].tolist() == [0, 1, 2]
    for name, weight in weights.items():
        assert_kept(form, weight, back[name])


@each_format
def test_other_weights_are_refused(form):
    for weight in (torch.zeros(3), torch.zeros((0, 4)), torch.zeros((2, 2), dtype=torch.float64)):
        with pytest.raises(ValueError, match="a weight is float32, bfloat16 or int8"):
            form.pack(weight)


def test_a_weight_that_is_not_two_of_four_is_refused():
    with pytest.raises(ValueError, match="prune with TwoOfFour first"):
        FORMATS["two_of_four"].pack(torch.ones(2, 4))


def test_a_slash_in_a_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match="may not hold /"):
        save_sparse(tmp_path / "net.safetensors", {"a/b": torch.zeros(1)})


def test_what_is_no_such_file_is_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"something else")
    with pytest.raises(ArtifactRefused, match="no file of sparse weights"):
        load_sparse(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ArtifactRefused, match="no file of sparse weights"):
        load_sparse(path)
    save_file({"a/values": torch.zeros(1)}, path, metadata={"sparse_formats": json.dumps({"a": "morse"})})
    with pytest.raises(ArtifactRefused, match="not known: morse"):
        load_sparse(path)
    save_file({"a/values": torch.zeros(1)}, path, metadata={"sparse_formats": json.dumps({"a": "bitmap"})})
    with pytest.raises(ArtifactRefused, match="do not fit"):
        load_sparse(path)
