"""The rules that a new installation starts with; each is an ordinary rule version that can be retired or replaced."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from scoring.models import AuditEntry, Rule, RuleVersion

Node = dict[str, Any]


def _f(name: str) -> Node:
    return {"feature": name}


def _compare(op: str, feature: str, number: float) -> Node:
    return {"op": op, "args": [_f(feature), {"number": number}]}


def _all(*nodes: Node) -> Node:
    return {"op": "and", "args": list(nodes)}


def _at_least(feature: str, number: float) -> Node:
    return _compare("ge", feature, number)


def _above(feature: str, number: float) -> Node:
    return _compare("gt", feature, number)


def _is(feature: str, value: float = 1) -> Node:
    return _compare("eq", feature, value)


def _rule(
    name: str, typology: str, outcome: str, weight: float, reason: str, when: Node, requires: Node | None = None
) -> dict[str, Any]:
    return {
        "name": name,
        "definition": {
            "when": when,
            "requires": requires,
            "outcome": outcome,
            "weight": weight,
            "reason": reason,
            "typology": typology,
        },
    }


BUILTIN_RULES: dict[str, dict[str, Any]] = {
    "blocked_card": _rule(
        "Card on the block list", "stolen_card", "decline", 0.95, "The card is on the block list", {"in_list": "blocked_cards"}
    ),
    "blocked_device": _rule(
        "Device on the block list",
        "account_takeover",
        "decline",
        0.9,
        "The device is on the block list",
        {"in_list": "blocked_devices"},
    ),
    "blocked_beneficiary": _rule(
        "Beneficiary on the block list",
        "mule_account",
        "hold",
        0.9,
        "The beneficiary is on the block list",
        {"in_list": "blocked_beneficiaries"},
    ),
    "blocked_merchant": _rule(
        "Merchant on the block list",
        "compromised_merchant",
        "decline",
        0.9,
        "The merchant is on the block list",
        {"in_list": "blocked_merchants"},
    ),
    "watched_party": _rule(
        "Customer or country under watch",
        "watch",
        "review",
        0.15,
        "The customer or the country is on a watch list",
        {"op": "or", "args": [{"in_list": "watched_customers"}, {"in_list": "watched_countries"}]},
    ),
    "card_testing_device": _rule(
        "Many cards on one device",
        "card_testing",
        "decline",
        0.75,
        "One device tried several cards within ten minutes, with small amounts",
        _all(_at_least("device.distinct.10m", 4), _compare("lt", "amount_minor", 2_000)),
    ),
    "card_testing_merchant": _rule(
        "Burst of small card payments at one merchant",
        "card_testing",
        "step_up",
        0.25,
        "The merchant takes unusually many small payments from different cards",
        _all(_at_least("merchant.distinct.10m", 12), _compare("lt", "amount_minor", 1_000), _is("channel.ecom")),
        _at_least("merchant.count.7d", 20),
    ),
    "card_velocity": _rule(
        "Many payments with one card",
        "stolen_card",
        "review",
        0.3,
        "The card was used many times within ten minutes",
        _at_least("card.count.10m", 5),
    ),
    "card_spend_spike": _rule(
        "Amount far above the card's habit",
        "stolen_card",
        "step_up",
        0.2,
        "The amount is far above what this card usually pays",
        _all(_above("card.ratio.30d", 10), _at_least("amount_minor", 40_000)),
        _at_least("card.count.30d", 5),
    ),
    "country_hop": _rule(
        "Card used in several countries",
        "stolen_card",
        "review",
        0.35,
        "The card was used in several countries within a day",
        _all(_at_least("card_country.distinct.24h", 2), _is("is_abroad"), _is("card_present")),
    ),
    "new_device_large_transfer": _rule(
        "Large transfer from a new device",
        "account_takeover",
        "hold",
        0.45,
        "A large transfer comes from a device that this customer has not used",
        _all(
            _is("type.transfer"),
            _is("customer_device.count.30d", 0),
            _above("customer.ratio.30d", 3),
            _at_least("amount_minor", 50_000),
        ),
        _at_least("customer.count.30d", 5),
    ),
    "new_beneficiary_large_transfer": _rule(
        "Large transfer to a new beneficiary",
        "account_takeover",
        "review",
        0.2,
        "A large transfer goes to a beneficiary whom this customer has not paid before",
        _all(_is("type.transfer"), _is("customer_beneficiary.count.30d", 0), _above("customer.ratio.30d", 8)),
        _at_least("customer.count.30d", 5),
    ),
    "many_payers": _rule(
        "Many payers to one beneficiary",
        "mule_account",
        "hold",
        0.45,
        "Several unrelated accounts paid this beneficiary within a day",
        _all(_is("type.transfer"), _at_least("counterparty.distinct.24h", 5)),
    ),
    "structured_cash": _rule(
        "Repeated cash just below the reporting threshold",
        "structuring",
        "review",
        0.5,
        "Cash is paid in repeatedly in amounts just below the reporting threshold",
        _all(_is("type.cash_deposit"), _is("below_report_threshold"), _at_least("account_cash.count.7d", 1)),
    ),
    "risky_terminal": _rule(
        "Terminal with recent fraud",
        "compromised_merchant",
        "step_up",
        0.3,
        "The terminal had an unusual share of fraud lately",
        _above("terminal.risk_rate.14d", 0.1),
        _at_least("terminal.risk_count.14d", 10),
    ),
    "risky_merchant": _rule(
        "Merchant with recent fraud",
        "compromised_merchant",
        "step_up",
        0.2,
        "The merchant had an unusual share of fraud lately",
        _above("merchant.risk_rate.14d", 0.1),
        _at_least("merchant.risk_count.14d", 20),
    ),
    "night_cash_spike": _rule(
        "Unusual cash withdrawal at night",
        "stolen_card",
        "step_up",
        0.2,
        "An unusually large cash withdrawal takes place at night",
        _all(_is("type.cash_withdrawal"), _is("is_night"), _above("card.ratio.30d", 4)),
        _at_least("card.count.30d", 5),
    ),
}

AUTHOR = "built-in"


@transaction.atomic
def install_builtin_rules() -> int:
    """Bring the built-in rules that are missing or were reworded into the database as live versions; return how many.

    A rule whose live version was written by somebody else is left alone.
    """
    changed = 0
    for rule_id, of in BUILTIN_RULES.items():
        rule, _ = Rule.objects.get_or_create(rule_id=rule_id, defaults={"name": of["name"]})
        newest = rule.versions.order_by("-version").first()
        if newest is not None and (newest.created_by != AUTHOR or newest.definition == of["definition"]):
            continue
        rule.versions.filter(state=RuleVersion.State.LIVE).update(state=RuleVersion.State.RETIRED)
        version = newest.version + 1 if newest else 1
        RuleVersion.objects.create(
            rule=rule, version=version, state=RuleVersion.State.LIVE, definition=of["definition"], created_by=AUTHOR
        )
        changed += 1
    if changed:
        AuditEntry.objects.create(actor=AUTHOR, action="rules.install", subject="built-in rules", details={"changed": changed})
    return changed
