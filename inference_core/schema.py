"""The feature schema: which columns a program reads, in which order and unit."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property

from inference_core.errors import SchemaMismatch


@dataclass(frozen=True)
class FeatureColumn:
    """One float32 column; NaN means that the value is not known.

    Attributes:
        name: stable identifier, used by rules, models and reasons.
        unit: of the number, e.g. "minor units", "seconds", "count".
        text: what it says, in words that an analyst reads.
    """

    name: str
    unit: str
    text: str


@dataclass(frozen=True)
class FeatureSchema:
    """An ordered set of columns; two schemas with the same version have the same columns in the same order."""

    columns: tuple[FeatureColumn, ...]

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise SchemaMismatch(f"feature names must be unique; repeated: {sorted({n for n in names if names.count(n) > 1})}")

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def width(self) -> int:
        return len(self.columns)

    @cached_property
    def version(self) -> str:
        """16 hexadecimal digits over names, units and order."""
        text = json.dumps([[c.name, c.unit] for c in self.columns])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def positions(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    def index(self, name: str) -> int:
        """Return the column's position.

        Raises:
            SchemaMismatch: there is no such feature.
        """
        try:
            return self.positions[name]
        except KeyError:
            raise SchemaMismatch(f"there is no feature {name!r} in schema {self.version}") from None

    def to_json(self) -> list[dict]:
        return [asdict(column) for column in self.columns]

    @classmethod
    def from_json(cls, columns: list[dict]) -> FeatureSchema:
        return cls(tuple(FeatureColumn(**column) for column in columns))
