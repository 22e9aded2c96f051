"""What differs from answer to answer, as arrays, and the checks of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels.errors import KernelInputError
from kernels.render_answers.form import AnswerForm

DECISION_ID_BYTES = 36
# 0001-01-01 to the last microsecond of 9999, the years that RFC 3339 can write (and datetime can hold).
FIRST_US, LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999


class AnswerColumns(NamedTuple):
    """n decisions, each array C-contiguous. A named tuple, because a frozen dataclass takes 2 us longer to make.

    Attributes:
        decision_ids: 36 n bytes.
        text: bytes in which the transactions' ids lie.
        probability: [n] float64, from 0 to 1, or NaN where there is none.
        occurred_us, received_us: [n] int64 microseconds since 1970, UTC, years 1 to 9999.
        id_starts, id_lengths: [n] int32, where in `text` the transaction's id lies.
        score: [n] int32.
        top_features: [n, K] int32 columns of the feature row. Those after the first contribution that does not count are
            not read.
        top_contributions: [n, K] float32 log-odds, descending.
        top_values: [n, K] float32 the features' values; NaN (and infinity, which JSON cannot write) is said as "not known".
        stamps: [n] uint32 bits of the form's stamps.
        queue_us, features_us, program_us: [n] uint32.
        outcome: [n] uint8 code of the form's outcomes.
        rule_codes: [n, R] uint8 codes of the form's rule_outcomes.

    Ids are tokens that need no escape: printable ASCII without quotes and backslashes.
    """

    decision_ids: bytes
    text: bytes
    probability: np.ndarray
    occurred_us: np.ndarray
    received_us: np.ndarray
    id_starts: np.ndarray
    id_lengths: np.ndarray
    score: np.ndarray
    top_features: np.ndarray
    top_contributions: np.ndarray
    top_values: np.ndarray
    stamps: np.ndarray
    queue_us: np.ndarray
    features_us: np.ndarray
    program_us: np.ndarray
    outcome: np.ndarray
    rule_codes: np.ndarray


# Of the arrays, in the order in which the fields stand: whole words first, so that each stays aligned when they are joined.
DTYPES = [
    np.dtype(kind)
    for kind in (
        np.float64, np.int64, np.int64, np.int32, np.int32, np.int32, np.int32, np.float32, np.float32, np.uint32, np.uint32,
        np.uint32, np.uint32, np.uint8, np.uint8,
    )
]  # fmt: skip
_ARRAYS = AnswerColumns._fields[2:]


def check_arrays(form: AnswerForm, columns: AnswerColumns) -> None:
    """Raise KernelInputError unless types and shapes are those that AnswerColumns states."""
    for name in ("decision_ids", "text"):
        if type(getattr(columns, name)) is not bytes:
            raise KernelInputError(f"{name} must be bytes; got {type(getattr(columns, name)).__name__}")
    n = len(columns.probability)
    top = np.shape(columns.top_features)[1:]
    shapes = {"top_features": (n, *top), "top_contributions": (n, *top), "top_values": (n, *top)}
    shapes["rule_codes"] = (n, len(form.rules))
    for name, dtype in zip(_ARRAYS, DTYPES, strict=True):
        array, shape = getattr(columns, name), shapes.get(name, (n,))
        if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
            found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise KernelInputError(f"{name} must be C-contiguous {dtype.name} {shape}; got {found}")
    if len(top) != 1:
        raise KernelInputError(f"top_features must be [n, K]; got {columns.top_features.shape}")
    if len(columns.decision_ids) != DECISION_ID_BYTES * n:
        raise KernelInputError(f"decision_ids must be {DECISION_ID_BYTES} bytes for each of {n}; got {len(columns.decision_ids)}")


def check_values(form: AnswerForm, columns: AnswerColumns) -> None:
    """Raise KernelInputError that names the first row and field that an answer cannot be written from."""
    c = columns
    ends = c.id_starts.astype(np.int64) + c.id_lengths
    counts = counted(form, c.top_contributions)
    outside = (c.top_features < 0) | (c.top_features >= len(form.features))
    for name, bad, remedy in (
        ("outcome", c.outcome >= len(form.outcomes), f"one of the codes 0 to {len(form.outcomes) - 1}"),
        ("rule_codes", (c.rule_codes >= len(form.rule_outcomes)).any(axis=1), f"codes 0 to {len(form.rule_outcomes) - 1}"),
        ("stamps", c.stamps.astype(np.uint64) >> np.uint64(len(form.stamps)) != 0, f"bits below {len(form.stamps)}"),
        ("probability", ~(np.isnan(c.probability) | ((c.probability >= 0) & (c.probability <= 1))), "NaN or from 0 to 1"),
        ("occurred_us", (c.occurred_us < FIRST_US) | (c.occurred_us > LAST_US), "within the years 1 to 9999"),
        ("received_us", (c.received_us < FIRST_US) | (c.received_us > LAST_US), "within the years 1 to 9999"),
        ("id_starts, id_lengths", (c.id_starts < 0) | (c.id_lengths < 1) | (ends > len(c.text)), "a part of text"),
        ("top_features", (outside & counts).any(axis=1), f"columns 0 to {len(form.features) - 1}"),
        ("top_contributions", (np.isinf(c.top_contributions) & counts).any(axis=1), "finite where they count"),
    ):
        if bad.any():
            raise KernelInputError(f"{name} must be {remedy}; row {int(bad.argmax())} is not")
    for row in range(len(c.probability)):
        for name, token in (("decision_ids", decision_id(c, row)), ("text", transaction_id(c, row))):
            if any(not 0x20 <= byte < 0x7F or byte in b'"\\' for byte in token):
                raise KernelInputError(f"the id of row {row} in {name} must be printable ASCII without quotes and backslashes")


def counted(form: AnswerForm, contributions: np.ndarray) -> np.ndarray:
    """Return bool [n, K]: the contributions before the first that is below least_contribution, or NaN."""
    return np.logical_and.accumulate(contributions.astype(np.float64) >= form.least_contribution, axis=1)


def decision_id(columns: AnswerColumns, row: int) -> bytes:
    """Return the bytes of a row's decision id."""
    return columns.decision_ids[DECISION_ID_BYTES * row : DECISION_ID_BYTES * (row + 1)]


def transaction_id(columns: AnswerColumns, row: int) -> bytes:
    """Return the bytes of a row's transaction id."""
    start = int(columns.id_starts[row])
    return columns.text[start : start + int(columns.id_lengths[row])]
