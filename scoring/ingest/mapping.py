"""A mapping: how the columns of one file layout become the fields of a payment.

A mapping is a small TOML file, described in `mappings/README.md`; `parse.py`
reads and checks it.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class IdRule:
    """`transaction_id` = prefix + the column's value, or + the row's number in the file."""

    prefix: str
    column: str | None


@dataclass(frozen=True, slots=True)
class TimeRule:
    """When a payment happened.

    Attributes:
        kind: "datetime" (a date and time; UTC where it carries no offset), or "seconds" or
            "days" counted from `origin_us`.
        origin_us: microseconds since 1970-01-01 UTC; used by "seconds" and "days".
        sort: the stream must come in event order; a file that is not sorted is sorted (stable).
        tie_step_us: microseconds by which each of several equal times in a row follows the last.
    """

    column: str
    kind: str
    origin_us: int
    sort: bool
    tie_step_us: int


@dataclass(frozen=True, slots=True)
class AmountRule:
    """The amount in major units; `minor_per_unit` minor units make one (100 for cents)."""

    column: str
    minor_per_unit: int


@dataclass(frozen=True, slots=True)
class FieldRule:
    """One field: a constant, or a column's value, translated or turned into a token.

    Attributes:
        token: for ids. "plain": prefix + value; "slug": the value without the characters that
            an id may not have; "keyed_hash": prefix + a keyed digest of the value, so that the
            value itself (a card number) never enters; "row_number": prefix + row number.
        values: translations, looked up before anything else; `default` takes the rest.
    """

    column: str | None
    constant: Any
    token: str
    prefix: str
    values: dict[str, Any]
    default: Any


@dataclass(frozen=True, slots=True)
class LabelRule:
    """Which rows are fraud, and how long after the payment that is reported.

    Attributes:
        fraud_values: texts (lower case) of the column that mean fraud; all others mean honest.
        required: a file without the column is refused; otherwise its payments have no labels.
    """

    column: str
    fraud_values: frozenset[str]
    delay_days: float
    source: str
    required: bool


@dataclass(frozen=True, slots=True)
class Mapping:
    """One file layout.

    Attributes:
        signature: columns that are not read but must be there for the layout to be recognised.
        columns: the columns that a file must have; `optional_columns` may be missing.
    """

    name: str
    description: str
    signature: frozenset[str]
    transaction_id: IdRule
    occurred_at: TimeRule
    amount: AmountRule
    fields: dict[str, FieldRule]
    label: LabelRule | None
    columns: frozenset[str] = field(init=False)
    optional_columns: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        needed = {self.transaction_id.column, self.occurred_at.column, self.amount.column}
        needed |= {rule.column for rule in self.fields.values()}
        optional = set()
        if self.label is not None:
            (needed if self.label.required else optional).add(self.label.column)
        object.__setattr__(self, "columns", frozenset(needed - {None}))
        object.__setattr__(self, "optional_columns", frozenset(optional - needed))

    @property
    def needs_token_key(self) -> bool:
        """Whether a column is replaced by a keyed hash, for which the reader needs a key."""
        return any(rule.token == "keyed_hash" for rule in self.fields.values())
