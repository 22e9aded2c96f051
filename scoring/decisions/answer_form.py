"""What all answers of one program have in common, for the writer of answers (`scoring.engine.render_answers`)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from scoring.engine import AnswerForm, Outcome, RiskProgram, Rule, RuleOutcome
from scoring.rules.live import ruleset_version

MAX_REASONS = 4
# Contributions below this many log-odds change the odds by about a twentieth part at most.
LEAST_CONTRIBUTION = 0.05
_NO_PROBABILITY = {
    "code": "policy.no_probability",
    "source": "policy",
    "text": "The model gave no probability, so the payment is not approved without a person",
    "weight": 0.01,
}


def answer_form(program: RiskProgram, stamps: Sequence[str], not_degraded: Sequence[str] = ()) -> AnswerForm:
    """Return the form of the program's answers.

    Args:
        stamps: words by bit, gravest first.
        not_degraded: those that do not make an answer degraded.
    """
    return AnswerForm.from_json(
        {
            "version": 1,
            "outcomes": [outcome.label for outcome in Outcome],
            "rules": [{"rule_id": rule.rule_id, **rule_reason(rule)} for rule in program.rules],
            "rule_outcomes": [outcome.label for outcome in RuleOutcome],
            "hit": int(RuleOutcome.HIT),
            "no_hit": int(RuleOutcome.NO_HIT),
            "features": [asdict(column) for column in program.schema.columns],
            "versions": versions(program),
            "stamps": list(stamps),
            "normal": "normal",
            "not_degraded": list(not_degraded),
            "no_probability": _NO_PROBABILITY,
            "least_contribution": LEAST_CONTRIBUTION,
            "max_reasons": MAX_REASONS,
        }
    )


def versions(program: RiskProgram) -> dict[str, str | None]:
    """Return what names the parts of the program."""
    policy = json.dumps(program.policy.to_json(), sort_keys=True, separators=(",", ":")).encode()
    return {
        "program": program.version,
        "ruleset": ruleset_version(program.rules),
        "model": program.version if program.forest is not None else None,
        "features": program.schema.version,
        "policy": hashlib.sha256(policy).hexdigest()[:12],
    }


def rule_reason(rule: Rule) -> dict[str, Any]:
    """Return the reason that a hit of the rule is; its weight, -ln(1 - weight), is on the scale of the model's log-odds."""
    source = "list" if _asks_lists_alone(rule.when) else "rule"
    weight = round(-math.log1p(-rule.weight), 4)
    return {"code": f"{source}.{rule.rule_id}", "source": source, "text": rule.reason, "weight": weight}


def _asks_lists_alone(node: dict[str, Any]) -> bool:
    return "in_list" in node or ("op" in node and all(_asks_lists_alone(arg) for arg in node["args"]))
