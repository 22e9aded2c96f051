"""An answer's fixed texts as C reads them: escaped once, in one blob, with the places of each piece."""

from __future__ import annotations

import ctypes

import numpy as np

from kernels.errors import KernelInputError
from kernels.native import library
from kernels.render_answers.columns import DECISION_ID_BYTES, DTYPES, AnswerColumns, check_arrays, check_values
from kernels.render_answers.form import AnswerForm, capitalised, quoted, versions_json
from kernels.render_answers.reference import known_reason

_POINTER, _LONG, _DOUBLE = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
# Rows a call of C: what it writes stays in memory of the thread, which keeps the room of the largest call.
_ROWS = 1_024
_UNITS = {"minor units": 1, "seconds": 2, "share": 3, "times": 4, "count": 5, "hours": 5, "day number": 5, "code": 5, "0 or 1": 6}
# The longest that a number can be: 39 digits of the largest float32, commas, sign, point, 4 decimals, a word.
_NUMBER = 64


class _Span(ctypes.Structure):
    _fields_ = [("start", ctypes.c_int32), ("size", ctypes.c_int32)]


class _Form(ctypes.Structure):
    """answer_form of cpu.c."""

    _fields_ = [
        ("blob", _POINTER), ("outcomes", _LONG), ("rules", _LONG), ("rule_words", _LONG), ("features", _LONG), ("stamps", _LONG),
        ("max_reasons", _LONG), ("row_bound", _LONG), ("hit", _LONG), ("no_hit", _LONG), ("degrading", _LONG),
        ("least_contribution", _DOUBLE), ("no_probability_weight", _DOUBLE), ("all_rules", _Span), ("no_probability", _Span),
        ("versions", _Span), ("normal", _Span), ("degraded", _Span), ("not_degraded", _Span), ("outcome", _POINTER),
        ("rule_word", _POINTER), ("rule_at", _POINTER), ("rule_reason", _POINTER), ("rule_weight", _POINTER), ("said", _POINTER),
        ("denied", _POINTER), ("feature", _POINTER), ("unit", _POINTER), ("stamp", _POINTER),
    ]  # fmt: skip


class _Blob:
    """Texts one after the other; arrays of their places, kept alive for C."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = 0
        self.kept: list[object] = []

    def add(self, text: str) -> _Span:
        part = text.encode()
        self._parts.append(part)
        self.size += len(part)
        return _Span(self.size - len(part), len(part))

    def add_all(self, texts: list[str]) -> int:
        """Return the address of the texts' spans."""
        spans = (_Span * max(len(texts), 1))(*map(self.add, texts))
        self.kept.append(spans)
        return ctypes.addressof(spans)

    def keep(self, array: np.ndarray) -> int:
        self.kept.append(array)
        return array.ctypes.data

    def address(self) -> int:
        whole = ctypes.create_string_buffer(b"".join(self._parts), max(self.size, 1))
        self.kept.append(whole)
        return ctypes.addressof(whole)


class NativeForm:
    """A form that C renders; may be used by several threads at once."""

    def __init__(self, form: AnswerForm) -> None:
        native = library()
        if native is None:
            raise KernelInputError("no compiled kernels are installed")
        native.answer_form_size.restype = _LONG
        if native.answer_form_size() != ctypes.sizeof(_Form):
            raise RuntimeError("the compiled kernels were built from other sources: run 'pip install -e .' again")
        self._render = native.render_answers
        self._render.restype = _LONG
        self._render.argtypes = [_POINTER, _LONG, _LONG, _LONG, _LONG, _POINTER, _POINTER, _POINTER, _LONG, _POINTER]
        self._form = form
        self._blob = _Blob()
        self._native = _lay_out(form, self._blob)
        self.row_bound = self._native.row_bound
        self._address = ctypes.addressof(self._native)

    def render(self, columns: AnswerColumns) -> tuple[bytes, np.ndarray]:
        """Return what reference.render does."""
        form = self._form
        try:
            n, top = columns.top_features.shape
        except (AttributeError, ValueError):
            check_arrays(form, columns)
            raise
        one, ranked = (n,), (n, top)
        arrays = columns[2:]
        shapes = [one, one, one, one, one, one, ranked, ranked, ranked, one, one, one, one, one, (n, len(form.rules))]
        try:
            fits = [array.dtype for array in arrays] == DTYPES and [array.shape for array in arrays] == shapes
            joined = b"".join(arrays)  # one piece of memory, see cpu.c; it wants contiguous arrays
        except (AttributeError, TypeError, ValueError, BufferError):
            fits = False
        if not (
            fits
            and type(columns.decision_ids) is type(columns.text) is bytes
            and len(columns.decision_ids) == DECISION_ID_BYTES * n
        ):
            check_arrays(form, columns)
            raise KernelInputError("the columns of the answers are not what AnswerColumns states")
        if n <= _ROWS:
            ends, answers = self._rows(columns, joined, 0, n)
            return answers, np.frombuffer(_ZERO + ends, np.int64)
        parts = [self._rows(columns, joined, first, min(first + _ROWS, n)) for first in range(0, n, _ROWS)]
        starts = np.cumsum([0, *(len(answers) for _, answers in parts)])
        ends = [np.frombuffer(ends, np.int64) + start for (ends, _), start in zip(parts, starts, strict=False)]
        return b"".join([answers for _, answers in parts]), np.concatenate([[0], *ends])

    def _rows(self, columns: AnswerColumns, joined: bytes, first: int, last: int) -> tuple[bytes, bytes]:
        """Return the ends and the answers of some rows."""
        found = _POINTER()
        n, top = columns.top_features.shape
        text = columns.text
        size = self._render(
            self._address, n, top, first, last, joined, columns.decision_ids, text, len(text), ctypes.addressof(found)
        )
        if size == -1:
            raise MemoryError("no memory to write the answers: score smaller batches, or free memory")
        if size < 0:
            check_values(self._form, columns)
            raise RuntimeError("the compiled kernel refuses answers that are well-formed: please report this")
        middle = 8 * (last - first)
        return ctypes.string_at(found.value, middle), ctypes.string_at(found.value + middle, size)


_ZERO = bytes(8)


def _lay_out(form: AnswerForm, blob: _Blob) -> _Form:
    """Fill the blob and return the structure that points into it."""
    native = _Form()
    native.rule_at = blob.keep(_add_rules(form, blob, native))
    rules = [known_reason(rule) for rule in form.rules]
    no_probability_weight, no_probability = known_reason(form.no_probability)
    codes = [f'{{"code":{quoted(f"model.{feature.name}")},"source":"model","text":' for feature in form.features]
    # The closing quote comes after the value in words.
    said = [code + quoted(capitalised(of.text))[:-1] for code, of in zip(codes, form.features, strict=True)]
    denied = [code + quoted(f"Not: {of.text}")[:-1] for code, of in zip(codes, form.features, strict=True)]
    named = [f',"feature":{quoted(feature.name)},"value":' for feature in form.features]
    native.outcomes, native.rules, native.rule_words = len(form.outcomes), len(form.rules), len(form.rule_outcomes)
    native.features, native.stamps, native.max_reasons = len(form.features), len(form.stamps), form.max_reasons
    native.hit, native.no_hit, native.degrading = form.hit, form.no_hit, form.degrading
    native.least_contribution, native.no_probability_weight = form.least_contribution, no_probability_weight
    native.no_probability = blob.add(no_probability)
    native.versions = blob.add(f'],"versions":{versions_json(form)},"timing_us":{{"queue":')
    native.normal = blob.add(f'{quoted(form.normal)},"stamps":[')
    native.degraded = blob.add('],"degraded":true,"mode":')
    native.not_degraded = blob.add('],"degraded":false,"mode":')
    native.outcome = blob.add_all([quoted(word) for word in form.outcomes])
    native.rule_word = blob.add_all([quoted(word) for word in form.rule_outcomes])
    native.rule_reason = blob.add_all([text for _, text in rules])
    native.rule_weight = blob.keep(np.array([weight for weight, _ in rules], np.float64))
    native.said, native.denied, native.feature = map(blob.add_all, (said, denied, named))
    native.unit = blob.keep(np.array([_UNITS.get(feature.unit, 0) for feature in form.features], np.uint8))
    native.stamp = blob.add_all([quoted(stamp) for stamp in form.stamps])
    native.row_bound = _row_bound(form, native, [text for _, text in rules] + [no_probability], said, denied, named)
    native.blob = blob.address()
    return native


def _add_rules(form: AnswerForm, blob: _Blob, native: _Form) -> np.ndarray:
    """Add the rules where none is hit; return where in the blob each rule's word starts."""
    start, places = blob.add('],"rules":[').start, []
    for r, rule in enumerate(form.rules):
        blob.add(f'{"," if r else ""}{{"rule_id":{quoted(rule.rule_id)},"outcome":')
        places.append(blob.add(quoted(form.rule_outcomes[form.no_hit])).start)
        blob.add("}")
    native.all_rules = _Span(start, blob.size - start)
    return np.array(places, np.int32)


def _row_bound(form: AnswerForm, native: _Form, reasons: list[str], said: list[str], denied: list[str], named: list[str]) -> int:
    """Bytes that an answer takes at most, without the transaction's id."""
    model = max(map(_bytes, said + denied), default=0) + max(map(_bytes, named), default=0) + 3 * _NUMBER + 32
    fixed = 200 + DECISION_ID_BYTES + 8 * _NUMBER + native.all_rules.size + native.versions.size + native.normal.size + 32
    words = [_bytes(quoted(word)) for word in form.rule_outcomes]
    return (
        fixed
        + max(_bytes(quoted(word)) for word in form.outcomes)
        + len(form.rules) * (max(words) - words[form.no_hit])
        + form.max_reasons * (1 + max(model, *map(_bytes, reasons)))
        + 16 + sum(2 * _bytes(quoted(stamp)) + 1 for stamp in form.stamps)
    )  # fmt: skip


def _bytes(text: str) -> int:
    return len(text.encode())
