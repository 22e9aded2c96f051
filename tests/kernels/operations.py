"""What the suite of all operations needs to know of each: inputs of odd shapes, and how both implementations run.

An operation is a folder of kernels/ with a reference.py; one that is missing here fails the suite.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import kernels
from kernels import (
    bin_features,
    bitmap_gemv,
    block_sparse_conv,
    block_sparse_linear,
    forest_margin,
    net_margin,
    pack_rows,
    path_contributions,
    render_answers,
    rule_mask,
    score_rows,
    token_table,
    top_values,
    tree_shap,
    value_columns,
    velocity_windows,
)
from kernels.bin_features import reference as bin_reference
from kernels.bitmap_gemv import reference as bitmap_reference
from kernels.block_sparse_conv import reference as conv_reference
from kernels.block_sparse_linear import reference as block_reference
from kernels.flat_records import reference as records_reference
from kernels.forest_margin import reference as forest_reference
from kernels.net_margin import reference as net_reference
from kernels.pack_rows import reference as pack_reference
from kernels.path_contributions import reference as path_reference
from kernels.render_answers import reference as answer_reference
from kernels.rule_mask import reference as rule_reference
from kernels.score_rows import ScoredRows
from kernels.score_rows import reference as score_reference
from kernels.tables import RuleBits
from kernels.token_table import reference as token_reference
from kernels.top_values import reference as top_reference
from kernels.tree_shap import reference as shap_reference
from kernels.value_columns import reference as value_reference
from kernels.velocity_windows import reference as windows_reference
from tests.kernels.answer_samples import columns_of, form_json
from tests.kernels.flat_texts import READER, arrays_of
from tests.kernels.packed_samples import window_rows
from tests.kernels.random_nets import random_net_table
from tests.kernels.random_tables import Shape, random_tables, rows_near
from tests.kernels.row_samples import (
    decide_arrays,
    decide_fast,
    decide_plain,
    id_arrays,
    ids_fast,
    ids_plain,
    rows_fast,
    rows_plain,
    sqlite_fast,
    sqlite_plain,
    table_arrays,
)
from tests.kernels.shap_forests import random_bins, random_table
from tests.kernels.sparse_samples import as_int8, block_zeros, float_rows, int8_rows, scattered_zeros, vectors
from tests.strategies import KINDS, SMALL_LAYOUT

Arrays = tuple[np.ndarray, ...]


@dataclasses.dataclass(frozen=True)
class Operation:
    """Attributes:
    batches: rows in a batch -> the arrays that the operation reads.
    fast, reference: the arrays -> the arrays that come out.
    relative: how far the two may differ, as a share.
    """

    batches: Callable[[int], Arrays]
    fast: Callable[..., Arrays]
    reference: Callable[..., Arrays]
    relative: float


def operation_names() -> list[str]:
    """Return the folders of kernels/ that hold a reference, found on disk."""
    return sorted(path.parent.name for path in Path(kernels.__file__).parent.glob("*/reference.py"))


def _window_arrays(rows: int) -> Arrays:
    rng = np.random.default_rng(rows)
    return (
        1_000 + np.cumsum(rng.integers(-3, 6, rows)).astype(np.int64),
        rng.integers(0, 10**12, rows),
        np.arange(rows, dtype=np.uint64),
        rng.integers(-2, 3, (rows, KINDS)).astype(np.int32),
        rng.integers(-1, 3, (rows, KINDS)).astype(np.int32),
        (rng.random(rows) < 0.9).astype(np.uint8),
    )


def _windows(store_type: Callable) -> Callable[..., Arrays]:
    def run(*arrays: np.ndarray) -> Arrays:
        out = np.full((len(arrays[0]), len(SMALL_LAYOUT.columns)), np.nan, np.float32)
        late = store_type(SMALL_LAYOUT).process(velocity_windows.EventBatch(*arrays), out)
        return out, late

    return run


TABLES = random_tables(Shape(features=6, cuts=300, trees=20, depth=7, rules=70))
_NET = random_net_table(np.random.default_rng(2), columns=TABLES.cuts.columns, widths=(128, 192), density=0.3)
_SHAP = random_table(5, trees=4, depth=6, features=5)


def _rows(rows: int) -> Arrays:
    return rows_near(TABLES.cuts, rows, seed=rows)


def _bins(rows: int) -> Arrays:
    return (bin_reference.bin_features(TABLES.cuts, *_rows(rows)),)


def _words(bits: RuleBits) -> Arrays:
    return bits.hit, bits.insufficient, bits.error


def _scored(of: ScoredRows) -> Arrays:
    return of.margin, *_words(of.bits), of.top_features, of.top_contributions


def _ranked_arrays(rows: int) -> Arrays:
    x = np.round(np.random.default_rng(rows).normal(size=(rows, 9)), 1).astype(np.float32)
    x[np.random.default_rng(1).random(x.shape) < 0.3] = np.nan
    return (x,)


_FORM = render_answers.AnswerForm.from_json(form_json(rules=9))


def _answer_arrays(rows: int) -> Arrays:
    return tuple(
        np.frombuffer(column, np.uint8) if isinstance(column, bytes) else column for column in columns_of(_FORM, rows, seed=rows)
    )


def _answers(decision_ids: np.ndarray, text: np.ndarray, *arrays: np.ndarray) -> render_answers.AnswerColumns:
    return render_answers.AnswerColumns(decision_ids.tobytes(), text.tobytes(), *arrays)


def _rendered(buffer: bytes, ends: np.ndarray) -> Arrays:
    return np.frombuffer(buffer, np.uint8), ends


def _render_fast(*arrays: np.ndarray) -> Arrays:
    answers = render_answers.render_answers(_FORM, _answers(*arrays))
    return _rendered(answers.buffer, answers.ends)


_TEXT = b"abracadabra" * 20


def _spans(rows: int) -> Arrays:
    rng = np.random.default_rng(rows)
    return rng.integers(0, 30, rows, np.int32), rng.integers(-1, 20, rows, np.int32), rng.random(rows) < 0.8


def _numbered(table_type: Callable) -> Callable[..., Arrays]:
    def run(starts: np.ndarray, lengths: np.ndarray, remember: np.ndarray) -> Arrays:
        table, pairs = table_type(), table_type()
        codes = table.codes(_TEXT, starts, lengths, remember)
        return codes, pairs.pair_codes(codes, codes[::-1], remember), table.tokens(0, len(table))[1]

    return run


def _packed(x: np.ndarray, buffer: bytes, ends: np.ndarray) -> Arrays:
    """The packed rows, and what they give back."""
    rows = [buffer[start:end] for start, end in zip(ends, ends[1:], strict=False)]
    return *_rendered(buffer, ends), pack_rows.unpack_rows(rows, x.shape[1])


_BOOK = value_columns.RecipeBook(
    (
        value_columns.Recipe(value_columns.Operation.COPY, 0, 0),
        value_columns.Recipe(value_columns.Operation.LOOK_UP, 1, 1, table=np.eye(5, 4, dtype=np.float32)),
    ),
    wide=1,
    narrow=1,
)


def _values(rows: int) -> Arrays:
    rng = np.random.default_rng(rows)
    return rng.integers(-(10**15), 10**15, (1, rows)), rng.integers(-1, 6, (1, rows), np.int32)


def _filled(fill: Callable) -> Callable[..., Arrays]:
    def run(wide: np.ndarray, narrow: np.ndarray) -> Arrays:
        out = np.full((wide.shape[1], 6), np.nan, np.float32)
        fill(wide, narrow, out)
        return (out,)

    return run


def _text_arrays(rows: int) -> Arrays:
    """Texts of records, every fifth of which is cut off."""
    rng = np.random.default_rng(rows)
    bodies = []
    for row in range(rows):
        body = {
            "at": "2026-01-31T10:15:30.5Z",
            "id": f"t-{row}",
            "place": round(rng.uniform(-180, 180), 4),
            "kind": "cash",
            "i": row,
        }
        bodies.append(
            json.dumps({name: body[name] for name in rng.permutation(list(body)).tolist()}).encode()[
                : -1 if row % 5 == 4 else None
            ]
        )
    lengths = np.array([len(body) for body in bodies], np.int64)
    return np.frombuffer(b"".join(bodies), np.uint8), np.cumsum(lengths) - lengths, lengths


_SCALE, _BIAS = vectors(19)
_SCATTERED, _BLOCKS = scattered_zeros(19, 70, 0.8), block_zeros(19, 70, 8, 16, 0.6)
_CONV = block_sparse_conv.pack_conv(block_zeros(12, 36, 4, 2, 0.5).reshape(12, 3, 3, 4).transpose(0, 3, 1, 2), 4, 2)


def _two_layers(layer: Callable, floats: Any, whole: Any) -> Callable[..., Arrays]:
    """One layer on float32 rows, and one on int8 rows."""

    def run(x: np.ndarray, x8: np.ndarray) -> Arrays:
        return layer(x, floats, _BIAS, relu=True), layer(x8, whole, _BIAS, scale=_SCALE)

    return run


def _bitmap(layer: Callable) -> Callable[..., Arrays]:
    return _two_layers(layer, bitmap_gemv.pack_bitmap(_SCATTERED), bitmap_gemv.pack_bitmap(as_int8(_SCATTERED)))


def _blocks(layer: Callable) -> Callable[..., Arrays]:
    pack = block_sparse_linear.pack_blocks
    return _two_layers(layer, pack(_BLOCKS, 8, 16), pack(as_int8(_BLOCKS), 8, 16))


def _row_pair(rows: int) -> Arrays:
    # Small, so that what cancels out leaves less than the suite's absolute tolerance.
    return float_rows(rows, 70) / 16, int8_rows(rows, 70)


def _pictures(rows: int) -> Arrays:
    return (float_rows(rows, 3 * 2 * 4).reshape(rows, 3, 2, 4),)


OPERATIONS = {
    "bitmap_gemv": Operation(_row_pair, _bitmap(bitmap_gemv.bitmap_gemv), _bitmap(bitmap_reference.bitmap_gemv), relative=2e-6),
    "block_sparse_linear": Operation(
        _row_pair,
        _blocks(block_sparse_linear.block_sparse_linear),
        _blocks(block_reference.block_sparse_linear),
        relative=2e-6,
    ),
    "block_sparse_conv": Operation(
        _pictures,
        lambda x: (block_sparse_conv.block_sparse_conv(x, _CONV),),
        lambda x: (conv_reference.block_sparse_conv(x, _CONV),),
        relative=2e-6,
    ),
    "decide_rows": Operation(decide_arrays, decide_fast, decide_plain, relative=0.0),
    "ordered_ids": Operation(id_arrays, ids_fast, ids_plain, relative=0.0),
    "table_rows": Operation(table_arrays, rows_fast, rows_plain, relative=0.0),
    "sqlite_rows": Operation(table_arrays, sqlite_fast, sqlite_plain, relative=0.0),
    "value_columns": Operation(
        _values,
        _filled(value_columns.NativeValueColumns(_BOOK).fill),
        _filled(value_reference.ReferenceValueColumns(_BOOK).fill),
        relative=0.0,
    ),
    "token_table": Operation(
        _spans, _numbered(token_table.NativeTokenTable), _numbered(token_reference.ReferenceTokenTable), relative=0.0
    ),
    "flat_records": Operation(
        _text_arrays,
        lambda texts, *spans: arrays_of(READER.read(texts.tobytes(), *spans)),
        lambda texts, *spans: arrays_of(records_reference.read(READER.layout, texts.tobytes(), *spans, False)),
        relative=0.0,
    ),
    "velocity_windows": Operation(
        _window_arrays,
        _windows(velocity_windows.NativeWindowStore),
        _windows(windows_reference.ReferenceWindowStore),
        relative=2e-6,
    ),
    "bin_features": Operation(
        _rows,
        lambda x, lists: (bin_features.bin_features(TABLES.cuts, x, lists),),
        lambda x, lists: (bin_reference.bin_features(TABLES.cuts, x, lists),),
        relative=0.0,
    ),
    "pack_rows": Operation(
        lambda rows: (window_rows(rows),),
        lambda x: _packed(x, *pack_rows.pack_rows(x)),
        lambda x: _packed(x, *pack_reference.pack_rows(x)),
        relative=0.0,
    ),
    "rule_mask": Operation(
        _bins,
        lambda bins: _words(rule_mask.rule_mask(TABLES.rules, bins)),
        lambda bins: _words(rule_reference.rule_mask(TABLES.rules, bins)),
        relative=0.0,
    ),
    "forest_margin": Operation(
        _bins,
        lambda bins: (forest_margin.forest_margin(TABLES.trees, bins),),
        lambda bins: (forest_reference.forest_margin(TABLES.trees, bins),),
        relative=0.0,
    ),
    "net_margin": Operation(
        _bins,
        lambda bins: (net_margin.net_totals(_NET, bins),),
        lambda bins: (net_reference.net_totals(_NET, bins),),
        relative=0.0,
    ),
    "path_contributions": Operation(
        _bins,
        lambda bins: path_contributions.path_contributions(TABLES.trees, bins),
        lambda bins: path_reference.path_contributions(TABLES.trees, bins),
        relative=0.0,
    ),
    "score_rows": Operation(
        _rows,
        lambda x, lists: _scored(score_rows.score_rows(TABLES, x, lists, 3)),
        lambda x, lists: _scored(score_reference.score_rows(TABLES, x, lists, 3)),
        relative=0.0,
    ),
    "tree_shap": Operation(
        lambda rows: (random_bins(rows, _SHAP, rows),),
        lambda bins: tuple(map(np.asarray, tree_shap.tree_shap(_SHAP, bins))),
        lambda bins: tuple(map(np.asarray, shap_reference.tree_shap(_SHAP, bins))),
        relative=1e-9,
    ),
    "render_answers": Operation(
        _answer_arrays,
        _render_fast,
        lambda *arrays: _rendered(*answer_reference.render(_FORM, _answers(*arrays))),
        relative=0.0,
    ),
    "top_values": Operation(
        _ranked_arrays, lambda x: top_values.top_values(x, 4), lambda x: top_reference.top_values(x, 4), relative=0.0
    ),
}


def inputs(name: str, rows: int) -> Arrays:
    """Return fresh input arrays of an operation."""
    return OPERATIONS[name].batches(rows)


def run(name: str, which: str, arrays: Arrays) -> Any:
    """Run "fast" or "reference" of an operation."""
    return getattr(OPERATIONS[name], which)(*arrays)
