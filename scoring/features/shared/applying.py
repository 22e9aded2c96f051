"""What an entry does to the windows of a process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from msgspec import MsgspecError

from scoring.features.columns import TransactionColumns
from scoring.features.shared.entry import Entry, EntryKind, UnreadableEntry
from scoring.features.state import FeatureState
from scoring.transactions import parse_stored

# Returns an entry's transactions as the columns of these windows; raises UnreadableEntry.
ReadColumns = Callable[[FeatureState, Entry], TransactionColumns]


def read_columns(state: FeatureState, entry: Entry) -> TransactionColumns:
    """Return an entry's transactions as the columns of this process.

    Raises:
        UnreadableEntry: a transaction is not one of this release.
    """
    try:
        transactions = [parse_stored(text) for text in entry.texts]
    except MsgspecError as error:
        raise UnreadableEntry("one of its transactions is not readable by this release") from error
    return state.tokens.columns(transactions, entry.keys, remember=True)


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
