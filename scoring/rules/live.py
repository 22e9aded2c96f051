"""The rules that a program built now would contain."""

from __future__ import annotations

import hashlib
import json

from scoring.engine import Rule, rule_from_json, rule_to_json
from scoring.models import RuleVersion
from scoring.rules.lists import LISTS


def live_rules() -> tuple[tuple[Rule, ...], tuple[str, ...], str]:
    """Return (rules by rule_id, list names, version of the set: 12 hexadecimal digits).

    Raises:
        RuleError: a stored definition is not a rule; the message names it.
    """
    versions = RuleVersion.objects.filter(state=RuleVersion.State.LIVE).select_related("rule").order_by("rule__rule_id")
    rules = tuple(rule_from_json({"rule_id": v.rule.rule_id, "version": v.version, **v.definition}) for v in versions)
    return rules, tuple(LISTS), ruleset_version(rules)


def ruleset_version(rules: tuple[Rule, ...]) -> str:
    """Return the fingerprint that decisions name."""
    return hashlib.sha256(json.dumps([rule_to_json(rule) for rule in rules], sort_keys=True).encode()).hexdigest()[:12]
