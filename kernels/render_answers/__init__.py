"""The JSON answers of n decisions, written from arrays.

The contract
------------
* An answer has, in this order: decision_id, transaction_id, status ("new"), outcome, score, probability, reasons[],
  rules[] (every rule with its outcome), degraded, mode (the stamp of the lowest bit, or the form's `normal`), stamps[],
  versions{}, timing_us{queue, features, program}, occurred_at, received_at (RFC 3339, UTC, six digits of a second, Z).
  UTF-8, no white space.
* Reasons are the rules that were hit, the form's no_probability where the probability is NaN, and the model's
  contributions (float32) until the first that is below least_contribution or NaN. The strongest max_reasons by weight
  are given, strongest first; of equal weights rules come first, then no_probability, then the model, each in its order.
* Weights and values are rounded to 4 decimals, the probability to 6: to nearest, ties to even, of the double product with
  10^4 (exact for a float32) and 10^6. They are written without exponent, without trailing zeros but one, and never as
  negative zero. A value that is NaN or infinite is null, and its text says "not known".
* A value in words is rounded the same way: minor units "1,234.56", shares "12.5%", times "3.0 times", seconds as the
  largest of days, hours and minutes of which there are two ("5 hours"), whole numbers for counts, hours, day numbers and
  codes, one decimal for other units. "0 or 1" reads as the feature's text, or "Not: " and the text.

The same form and columns give the same bytes for ever (`FORM_VERSION`), from the reference and from C.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kernels.native import library
from kernels.render_answers.columns import AnswerColumns, check_arrays, check_values
from kernels.render_answers.form import FORM_VERSION, AnswerForm, FeatureText, ReasonText, RuleText

__all__ = [
    "FORM_VERSION", "AnswerColumns", "AnswerForm", "FeatureText", "ReasonText", "Rendered", "RuleText", "render_answers",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Rendered:
    """n answers: answer i is buffer[ends[i]:ends[i + 1]].

    Attributes:
        buffer: all answers, one after the other.
        ends: [n + 1] int64, the first is 0.
    """

    buffer: bytes
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __iter__(self) -> Iterator[bytes]:
        ends = self.ends.tolist()
        return (self.buffer[start:end] for start, end in zip(ends, ends[1:], strict=False))


def render_answers(form: AnswerForm, columns: AnswerColumns) -> Rendered:
    """Return the answers of n decisions, by the contract above.

    Raises:
        KernelInputError: the columns are not what AnswerColumns states, or do not fit the form.
        MemoryError: there is no memory for the answers.
    """
    if library() is None:
        from kernels.render_answers import reference

        check_arrays(form, columns)
        check_values(form, columns)
        return Rendered(*reference.render(form, columns))
    return Rendered(*form.native.render(columns))
