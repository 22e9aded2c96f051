"""Typed rules: an expression tree over features and lists, checked when it is built, compiled with the program."""

from inference_core.rules.definition import Rule, rule_from_json, rule_to_json
from inference_core.rules.expressions import MAX_DEPTH, MAX_NODES, check_expression

__all__ = ["MAX_DEPTH", "MAX_NODES", "Rule", "check_expression", "rule_from_json", "rule_to_json"]
