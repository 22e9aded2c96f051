"""From the values of a column to the codes and the dictionary of a text field."""

import hashlib
import hmac
import re

import numpy as np
import pyarrow as pa

from scoring.ingest.columns import ABSENT
from scoring.ingest.contract import is_allowed_text, looks_like_card_number
from scoring.ingest.errors import MappingError
from scoring.ingest.mapping import FieldRule

_NOT_IN_ID = re.compile(r"[^A-Za-z0-9._:]+")
_DIGEST_CHARACTERS = 24


def keyed_token(key: bytes, value: str) -> str:
    """HMAC-SHA-256 of `value`, shortened to 24 hex digits (96 bits: no collisions to expect)."""
    return hmac.new(key, value.encode(), hashlib.sha256).hexdigest()[:_DIGEST_CHARACTERS]


class FieldEncoder:
    """Encodes one field of a stream, chunk by chunk; the same value always gets the same text."""

    def __init__(self, field: str, rule: FieldRule, token_key: bytes | None) -> None:
        self._field = field
        self._rule = rule
        self._key = token_key
        self._texts: dict[str, str] = {}
        self._value_of: dict[str, str] = {}

    def encode(self, column: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
        """Codes `int32 [N]` (-1 for null) and the dictionary that they point into.

        Raises:
            MappingError: a value that the field cannot hold, or one that reads as a card number.
        """
        codes, values = dictionary_codes(column)
        texts = [self._text_of(value) for value in values]
        dictionary = list(dict.fromkeys(texts))
        if len(dictionary) < len(texts):
            position = {text: code for code, text in enumerate(dictionary)}
            # The last entry is for -1: absent stays absent.
            remap = np.array([*(position[text] for text in texts), ABSENT], dtype=np.int32)
            codes = remap[codes]
        return codes, dictionary

    def _text_of(self, value: str) -> str:
        text = self._texts.get(value)
        if text is None:
            text = self._make_text(value)
            if not is_allowed_text(self._field, text):
                self._fail(f"makes {text!r}, which is no {self._field}", 'Translate it, or set token = "slug" (ids only).')
            self._texts[value] = text
        return text

    def _make_text(self, value: str) -> str:
        rule = self._rule
        if value in rule.values:
            return rule.values[value]
        if rule.default is not None:
            return rule.default
        if rule.values and not self._field.endswith("_id"):
            self._fail(f"has no translation for {value!r}", "Add it to `values`, or set a `default`.")
        if rule.token == "keyed_hash":
            return rule.prefix + keyed_token(self._key, value)
        if looks_like_card_number(value):
            # The value is not part of the message: it may be a real card.
            self._fail("holds values that read as card numbers", 'Set token = "keyed_hash" for this field.')
        return rule.prefix + (self._slug(value) if rule.token == "slug" else value)

    def _slug(self, value: str) -> str:
        slug = _NOT_IN_ID.sub("-", value).strip("-") or "-"
        first = self._value_of.setdefault(slug, value)
        if first != value:
            self._fail(f"gives {first!r} and {value!r} the same id {slug!r}", 'Set token = "keyed_hash".')
        return slug

    def _fail(self, problem: str, remedy: str) -> None:
        raise MappingError(f"Column {self._rule.column!r} for field {self._field!r} {problem}.", remedy=remedy)


def dictionary_codes(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """Codes `int32 [N]` (-1 for null) and the distinct values of a column, as text."""
    if pa.types.is_floating(column.type):
        column = _whole_numbers(column)
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    encoded = encoded.unify_dictionaries().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        # An empty column stays chunked.
        return np.empty(0, dtype=np.int32), []
    codes = encoded.indices.cast(pa.int32()).fill_null(ABSENT).to_numpy(zero_copy_only=False)
    return codes, [_as_text(value) for value in encoded.dictionary.to_pylist()]


def _whole_numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    # Whole numbers with gaps are often stored as floats; 7.0 and 7 must be one id.
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        return column


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
