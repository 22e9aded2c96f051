"""Named sets of feature columns that a recipe may train on; the search chooses among them on the validation folds.

The file names card and terminal only, and the card is the customer: the `customer.*` columns repeat the `card.*` ones, and
those of devices, merchants and beneficiaries are unknown throughout.
"""

from __future__ import annotations

from collections.abc import Callable

from scoring.features.schema import current_schema

_OWN = {"amount_minor", "hour_of_day", "day_of_week", "is_night", "is_round_amount"}


def _fits(name: str) -> bool:
    """Whether this file can fill the column with more than one value."""
    return name in _OWN or (name.startswith(("card.", "terminal.")) and not name.startswith("card.distinct"))


def _is_card_risk(name: str) -> bool:
    return name.startswith("card.risk")


def _is_short(name: str) -> bool:
    return name.endswith((".10m", ".1h"))


def _is_total(name: str) -> bool:
    return ".sum." in name or ".distinct." in name


def _is_terminal_habit(name: str) -> bool:
    return name.startswith("terminal.") and not name.startswith("terminal.risk")


GROUPS: dict[str, Callable[[str], bool]] = {
    "all": lambda name: True,
    # Tests leave out cards that are known as compromised, so a card's own risk is nearly constant there.
    "no_card_risk": lambda name: not _is_card_risk(name),
    "days": lambda name: not (_is_card_risk(name) or _is_short(name)),
    "days_no_totals": lambda name: not (_is_card_risk(name) or _is_short(name) or _is_total(name)),
    "no_terminal_habit": lambda name: not (_is_card_risk(name) or _is_short(name) or _is_total(name) or _is_terminal_habit(name)),
}  # fmt: skip


def columns_of(group: str) -> tuple[str, ...]:
    """Return the group's columns in the order of the schema."""
    return tuple(name for name in current_schema().names if _fits(name) and GROUPS[group](name))
