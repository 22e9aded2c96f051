"""Payments under construction: equal-length arrays of indices into the world."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from scoring.ingest.contract import CHANNELS, TYPES

NONE = -1
TYPE = {name: code for code, name in enumerate(TYPES)}
CHANNEL = {name: code for code, name in enumerate(CHANNELS)}
HONEST = 0

_DEFAULTS: dict[str, tuple[type, Any]] = {
    "time": (np.int64, 0),
    "amount": (np.int64, 0),
    "type": (np.int8, 0),
    "channel": (np.int8, 0),
    "customer": (np.int32, NONE),
    "card": (np.int32, NONE),
    "merchant": (np.int32, NONE),
    "terminal": (np.int32, NONE),
    "device": (np.int32, NONE),
    "counterparty": (np.int32, NONE),
    "country": (np.int32, NONE),
    "latitude": (np.float64, np.nan),
    "longitude": (np.float64, np.nan),
    "card_present": (np.int8, NONE),
    "is_recurring": (np.int8, NONE),
    "ip": (np.int64, NONE),
    "typology": (np.int8, HONEST),
    "incident": (np.int32, NONE),
}


@dataclass(slots=True, eq=False)
class Block:
    """N payments. `time`: microseconds since the start; ids: indices, -1 for none.

    `typology` is 0 for honest payments, else 1 + the index in `TYPOLOGIES`; `incident` numbers the
    fraud that a payment belongs to. Neither is ever part of a payment that leaves the simulator.
    """

    time: np.ndarray
    amount: np.ndarray
    type: np.ndarray
    channel: np.ndarray
    customer: np.ndarray
    card: np.ndarray
    merchant: np.ndarray
    terminal: np.ndarray
    device: np.ndarray
    counterparty: np.ndarray
    country: np.ndarray
    latitude: np.ndarray
    longitude: np.ndarray
    card_present: np.ndarray
    is_recurring: np.ndarray
    ip: np.ndarray
    typology: np.ndarray
    incident: np.ndarray

    def __len__(self) -> int:
        return len(self.time)

    def take(self, rows: np.ndarray) -> "Block":
        """The given rows (indices or a mask), in their order."""
        return Block(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def make_block(time: np.ndarray, **columns: Any) -> Block:
    """A block of `len(time)` payments; scalars are repeated, what is not given gets its default."""
    columns["time"] = time
    filled = {}
    for name, (dtype, default) in _DEFAULTS.items():
        value = np.asarray(columns.pop(name, default), dtype=dtype)
        filled[name] = np.broadcast_to(value, (len(time),))
    if columns:
        raise TypeError(f"a payment has no {', '.join(columns)}")
    return Block(**filled)


def join(blocks: list[Block]) -> Block:
    """All payments of the blocks, one block after the other."""
    if not blocks:
        return make_block(np.empty(0, dtype=np.int64))
    return Block(**{name: np.concatenate([getattr(block, name) for block in blocks]) for name in _DEFAULTS})
