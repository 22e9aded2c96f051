"""What an entry does to the windows of a process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from scoring.features.columns import TransactionColumns
from scoring.features.shared.entry import Entry, EntryKind, UnreadableEntry
from scoring.features.state import FeatureState
from scoring.transaction_records import transaction_reader

# Returns an entry's transactions as the columns of these windows; raises UnreadableEntry.
ReadColumns = Callable[[FeatureState, Entry], TransactionColumns]


def read_columns(state: FeatureState, entry: Entry) -> TransactionColumns:
    """Return an entry's transactions as the columns of this process.

    Raises:
        UnreadableEntry: a transaction is not one of this release.
    """
    records = transaction_reader().read(entry.text, entry.ends[:-1], np.diff(entry.ends), trusted=True)
    if not records.accepted.all():
        raise UnreadableEntry("one of its transactions is not readable by this release")
    return state.tokens.columns_of(records, entry.keys, remember=True)


def apply(local: FeatureState, entry: Entry, read: ReadColumns, *, doubtful: bool) -> None:
    """Do what an entry says.

    Args:
        doubtful: its transactions may be known already.
    """
    if entry.kind is EntryKind.RETRACTION:
        local.remove(read(local, entry))
    else:
        absorb(local, entry, read, doubtful=doubtful or entry.kind is EntryKind.LATE_EVENTS)


def absorb(local: FeatureState, entry: Entry, read: ReadColumns, *, doubtful: bool) -> None:
    """Absorb an entry's events; where `doubtful`, those alone that are not remembered."""
    batch = read(local, entry)
    if doubtful and (known := local.contains(batch)).any():
        batch = replace(batch, insert=(~known).astype(np.uint8))
    local.absorb(batch)
