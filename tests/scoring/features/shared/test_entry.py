"""Entries as bytes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.features.shared.entry import Entry, EntryKind, UnreadableEntry, decode, encode, entry_of, owner_of
from tests.strategies import examples

ENTRIES = st.builds(
    lambda kind, owner, number, rows: replace(
        entry_of(kind, [key for key, _ in rows], [text for _, text in rows]), owner=owner, number=number
    ),
    st.sampled_from(EntryKind),
    st.integers(0, 2**63),
    st.integers(0, 2**63),
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.binary(max_size=40)), max_size=6),
)


@given(ENTRIES)
def test_an_entry_comes_back_as_it_was(entry: Entry):
    data = encode(entry)
    read = decode(data)
    assert (read.kind, read.owner, read.number, read.texts) == (entry.kind, entry.owner, entry.number, entry.texts)
    np.testing.assert_array_equal(read.keys, entry.keys)
    assert owner_of(data) == (entry.owner, entry.number)
    assert encode(read) == data, "it can be sent on as it was received"


@examples(120)
@given(ENTRIES, st.data())
def test_what_is_cut_or_lengthened_is_refused(entry: Entry, data):
    whole = encode(entry)
    for wrong in (whole[: data.draw(st.integers(0, len(whole) - 1))], whole + b"x"):
        with pytest.raises(UnreadableEntry):
            decode(wrong)


@pytest.mark.parametrize("at", [0, 2, 3])
def test_another_version_is_refused(at):
    data = bytearray(encode(entry_of(EntryKind.EVENTS, [5], [b"{}"])))
    data[at] = 99
    with pytest.raises(UnreadableEntry, match="version 1"):
        decode(bytes(data))


def test_a_part_keeps_keys_and_texts_together():
    entry = decode(encode(entry_of(EntryKind.EVENTS, [5, 6, 7], [b"a", b"bb", b"c"])))
    part = entry.part(np.array([True, False, True]))
    assert part.keys.tolist() == [5, 7] and part.texts == [b"a", b"c"]
