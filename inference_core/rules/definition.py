"""What a rule is: when it holds, what it demands, and how it is told."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from inference_core.errors import RuleError
from inference_core.outcomes import Outcome


@dataclass(frozen=True)
class Rule:
    """One immutable version of a rule.

    Attributes:
        rule_id: stable over all versions.
        version: counts the wordings, from 1.
        when: expression tree (inference_core.rules.expressions); the rule hits where it is true.
        requires: expression that must be true for `when` to be meaningful, or None; otherwise insufficient_history.
        outcome: the least strict outcome that a hit allows.
        weight: [0, 1), the fraud probability that a hit alone stands for; feeds the score as noisy-or.
        reason: the sentence that an analyst or a customer's letter shows.
        typology: what kind of fraud it points to.
    """

    rule_id: str
    version: int
    when: dict[str, Any]
    requires: dict[str, Any] | None
    outcome: Outcome
    weight: float
    reason: str
    typology: str

    def __post_init__(self) -> None:
        if not 0 <= self.weight < 1:
            raise RuleError(f"rule {self.rule_id}: weight must be at least 0 and below 1; got {self.weight}")
        if not self.rule_id or not self.reason:
            raise RuleError(f"rule {self.rule_id or '(no id)'}: rule_id and reason must not be empty")
        try:  # copies: whoever passed the expressions in may go on to change them
            object.__setattr__(self, "when", copy.deepcopy(self.when))
            object.__setattr__(self, "requires", copy.deepcopy(self.requires))
        except RecursionError:
            raise RuleError(f"rule {self.rule_id}: the expression is too large") from None


def rule_to_json(rule: Rule) -> dict[str, Any]:
    """Return the rule as plain JSON values."""
    return {
        "rule_id": rule.rule_id, "version": rule.version, "when": rule.when, "requires": rule.requires,
        "outcome": rule.outcome.label, "weight": rule.weight, "reason": rule.reason, "typology": rule.typology,
    }  # fmt: skip


def rule_from_json(of: dict[str, Any]) -> Rule:
    """Return the rule that `rule_to_json` wrote.

    Raises:
        RuleError: a part is missing or not valid.
    """
    if not isinstance(of, dict):
        raise RuleError("a rule must be an object")
    try:
        return Rule(**{**of, "outcome": Outcome[str(of["outcome"]).upper()]})
    except (KeyError, TypeError) as error:
        raise RuleError(f"rule {of.get('rule_id', '(no id)')}: {error}") from None
