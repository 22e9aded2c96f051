"""How a pruned weight is kept, its values and where they belong: one file a format, each named here (the contract suite finds one
that is not)."""

from inference_core.sparsity.formats.base import PackedWeight, StorageFormat
from inference_core.sparsity.formats.bitmap import Bitmap
from inference_core.sparsity.formats.blocks import Blocks
from inference_core.sparsity.formats.dense_int8 import DenseInt8
from inference_core.sparsity.formats.gaps import Gaps
from inference_core.sparsity.formats.two_of_four import TwoOfFour

__all__ = ["FORMATS", "PackedWeight", "StorageFormat"]

FORMATS: dict[str, StorageFormat] = {form.name: form for form in (Bitmap(), Blocks(), DenseInt8(), Gaps(), TwoOfFour())}
"""Every format by its name in files."""
