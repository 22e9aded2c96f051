"""The built-in rules: each hits what it is for, and not its neighbour."""

from __future__ import annotations

import numpy as np
import pytest

from scoring.engine import Outcome, RuleOutcome
from scoring.features.schema import current_schema
from scoring.models import AuditEntry, Rule, RuleVersion
from scoring.rules.builtin import AUTHOR, BUILTIN_RULES, install_builtin_rules
from scoring.rules.lists import LISTS
from scoring.rules.live import live_rules
from tests.scoring.decisions.programs import builtin_rules, risk_program

HIT, NO_HIT, INSUFFICIENT = RuleOutcome.HIT, RuleOutcome.NO_HIT, RuleOutcome.INSUFFICIENT_HISTORY
LISTED = {
    "blocked_card": "blocked_cards",
    "blocked_device": "blocked_devices",
    "blocked_beneficiary": "blocked_beneficiaries",
    "blocked_merchant": "blocked_merchants",
    "watched_party": "watched_customers",
}
# rule -> features with which it hits, and for each a value with which it does not
STORIES: dict[str, tuple[dict[str, float], dict[str, float]]] = {
    "card_testing_device": ({"device.distinct.10m": 4, "amount_minor": 1_999}, {"device.distinct.10m": 3, "amount_minor": 2_000}),
    "card_testing_merchant": (
        {"merchant.distinct.10m": 12, "amount_minor": 999, "channel.ecom": 1, "merchant.count.7d": 20},
        {"merchant.distinct.10m": 11, "amount_minor": 1_000, "channel.ecom": 0},
    ),
    "card_velocity": ({"card.count.10m": 5}, {"card.count.10m": 4}),
    "card_spend_spike": (
        {"card.ratio.30d": 10.1, "amount_minor": 40_000, "card.count.30d": 5},
        {"card.ratio.30d": 10, "amount_minor": 39_999},
    ),
    "country_hop": (
        {"card_country.distinct.24h": 2, "is_abroad": 1, "card_present": 1},
        {"card_country.distinct.24h": 1, "is_abroad": 0, "card_present": 0},
    ),
    "new_device_large_transfer": (
        {
            "type.transfer": 1,
            "customer_device.count.30d": 0,
            "customer.ratio.30d": 3.1,
            "amount_minor": 50_000,
            "customer.count.30d": 5,
        },
        {"type.transfer": 0, "customer_device.count.30d": 1, "customer.ratio.30d": 3, "amount_minor": 49_999},
    ),
    "new_beneficiary_large_transfer": (
        {"type.transfer": 1, "customer_beneficiary.count.30d": 0, "customer.ratio.30d": 8.1, "customer.count.30d": 5},
        {"type.transfer": 0, "customer_beneficiary.count.30d": 1, "customer.ratio.30d": 8},
    ),
    "many_payers": ({"type.transfer": 1, "counterparty.distinct.24h": 5}, {"type.transfer": 0, "counterparty.distinct.24h": 4}),
    "structured_cash": (
        {"type.cash_deposit": 1, "below_report_threshold": 1, "account_cash.count.7d": 1},
        {"type.cash_deposit": 0, "below_report_threshold": 0, "account_cash.count.7d": 0},
    ),
    "risky_terminal": ({"terminal.risk_rate.14d": 0.11, "terminal.risk_count.14d": 10}, {"terminal.risk_rate.14d": 0.1}),
    "risky_merchant": ({"merchant.risk_rate.14d": 0.11, "merchant.risk_count.14d": 20}, {"merchant.risk_rate.14d": 0.1}),
    "night_cash_spike": (
        {"type.cash_withdrawal": 1, "is_night": 1, "card.ratio.30d": 4.1, "card.count.30d": 5},
        {"type.cash_withdrawal": 0, "is_night": 0, "card.ratio.30d": 4},
    ),
}
REQUIRED = {
    "card_testing_merchant": ("merchant.count.7d", 19),
    "card_spend_spike": ("card.count.30d", 4),
    "new_device_large_transfer": ("customer.count.30d", 4),
    "new_beneficiary_large_transfer": ("customer.count.30d", 4),
    "risky_terminal": ("terminal.risk_count.14d", 9),
    "risky_merchant": ("merchant.risk_count.14d", 19),
    "night_cash_spike": ("card.count.30d", 4),
}


def outcome(rule_id: str, features: dict[str, float], listed: str | None = None) -> RuleOutcome:
    """Run all rules on a row in which only these features are known, and return what became of one."""
    program = risk_program(forest=False)
    x = np.full((1, current_schema().width), np.nan, np.float32)
    for name, value in features.items():
        x[0, current_schema().index(name)] = value
    members = np.array([[name == listed for name in LISTS]])
    codes = program.run(x, members).rule_outcomes[0]
    return RuleOutcome(codes[[rule.rule_id for rule in program.rules].index(rule_id)])


def test_every_rule_has_a_story():
    assert set(BUILTIN_RULES) == set(STORIES) | set(LISTED) and len(BUILTIN_RULES) >= 12


@pytest.mark.parametrize("rule_id", STORIES)
def test_it_hits_what_it_is_for(rule_id):
    assert outcome(rule_id, STORIES[rule_id][0]) is HIT


@pytest.mark.parametrize(("rule_id", "name"), [(rule_id, name) for rule_id, (_, others) in STORIES.items() for name in others])
def test_it_does_not_hit_one_step_beside(rule_id, name):
    hits, others = STORIES[rule_id]
    assert outcome(rule_id, hits | {name: others[name]}) is NO_HIT


@pytest.mark.parametrize("rule_id", REQUIRED)
def test_without_enough_history_it_says_so(rule_id):
    name, value = REQUIRED[rule_id]
    assert outcome(rule_id, STORIES[rule_id][0] | {name: value}) is INSUFFICIENT
    assert outcome(rule_id, {k: v for k, v in STORIES[rule_id][0].items() if k != name}) is INSUFFICIENT


def test_exactly_the_rules_that_need_history_require_it():
    assert {rule_id for rule_id, of in BUILTIN_RULES.items() if of["definition"]["requires"] is not None} == set(REQUIRED)


@pytest.mark.parametrize("rule_id", LISTED)
def test_it_hits_who_is_on_its_list(rule_id):
    assert outcome(rule_id, {}, LISTED[rule_id]) is HIT
    assert outcome(rule_id, {}, next(name for name in LISTS if name != LISTED[rule_id] and "watched" not in name)) is NO_HIT
    assert outcome(rule_id, {}) is NO_HIT


def test_a_watched_country_is_watched_as_well():
    assert outcome("watched_party", {}, "watched_countries") is HIT


@pytest.mark.parametrize("rule_id", STORIES)
def test_of_a_transaction_about_which_nothing_is_known_it_says_nothing(rule_id):
    assert outcome(rule_id, {}) in (NO_HIT, INSUFFICIENT)


def test_no_rule_approves_and_lists_are_the_strictest():
    rules = {rule.rule_id: rule for rule in builtin_rules()}
    assert all(rule.outcome > Outcome.APPROVE and 0 < rule.weight < 1 and rule.typology for rule in rules.values())
    assert len({rule.reason for rule in rules.values()}) == len(rules)


# --- in the database -----------------------------------------------------------------------------------------------------


@pytest.mark.any_database
@pytest.mark.django_db
def test_installing_makes_each_rule_live_once():
    assert install_builtin_rules() == len(BUILTIN_RULES)
    assert install_builtin_rules() == 0
    rules, names, version = live_rules()
    assert [rule.rule_id for rule in rules] == sorted(BUILTIN_RULES) and names == tuple(LISTS)
    assert rules == builtin_rules()
    assert AuditEntry.objects.filter(action="rules.install").count() == 1


@pytest.mark.any_database
@pytest.mark.django_db
def test_a_reworded_rule_becomes_a_new_version(monkeypatch):
    install_builtin_rules()
    _, _, before = live_rules()
    reworded = BUILTIN_RULES["card_velocity"]["definition"] | {"weight": 0.31}
    monkeypatch.setitem(BUILTIN_RULES, "card_velocity", BUILTIN_RULES["card_velocity"] | {"definition": reworded})
    assert install_builtin_rules() == 1
    versions = RuleVersion.objects.filter(rule__rule_id="card_velocity").order_by("version")
    assert [(version.version, version.state) for version in versions] == [(1, "retired"), (2, "live")]
    rules, _, after = live_rules()
    assert after != before and next(rule for rule in rules if rule.rule_id == "card_velocity").weight == 0.31


@pytest.mark.any_database
@pytest.mark.django_db
def test_a_rule_that_an_analyst_changed_is_left_alone():
    install_builtin_rules()
    rule = Rule.objects.get(rule_id="card_velocity")
    rule.versions.update(state="retired")
    RuleVersion.objects.create(
        rule=rule, version=2, state="live", definition=BUILTIN_RULES["many_payers"]["definition"], created_by="alice"
    )
    assert install_builtin_rules() == 0
    assert rule.versions.get(state="live").created_by == "alice"


@pytest.mark.any_database
@pytest.mark.django_db
def test_a_rule_that_was_taken_out_of_service_stays_out():
    install_builtin_rules()
    RuleVersion.objects.filter(rule__rule_id="card_velocity").update(state="retired")
    install_builtin_rules()
    assert "card_velocity" not in [rule.rule_id for rule in live_rules()[0]]


@pytest.mark.any_database
@pytest.mark.django_db
def test_only_live_versions_are_read_and_a_damaged_one_is_named():
    from scoring.engine import RuleError

    install_builtin_rules()
    rule = Rule.objects.create(rule_id="drafted", name="Drafted")
    RuleVersion.objects.create(rule=rule, version=1, state="draft", definition={}, created_by=AUTHOR)
    assert len(live_rules()[0]) == len(BUILTIN_RULES)
    RuleVersion.objects.filter(rule=rule).update(state="live")
    with pytest.raises(RuleError, match="drafted"):
        live_rules()
