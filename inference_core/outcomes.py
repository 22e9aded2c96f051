"""The vocabulary of decisions, in the one order of priority that everything uses."""

from enum import IntEnum


class Outcome(IntEnum):
    """What the bank should do; larger is stricter and wins."""

    APPROVE = 0
    STEP_UP = 1
    REVIEW = 2
    HOLD = 3
    DECLINE = 4

    @property
    def label(self) -> str:
        """The name in the API, e.g. "step_up"."""
        return self.name.lower()


class RuleOutcome(IntEnum):
    """What became of one rule on one transaction."""

    NO_HIT = 0
    HIT = 1
    INSUFFICIENT_HISTORY = 2
    ERROR = 3

    @property
    def label(self) -> str:
        return self.name.lower()
