"""What all answers of a program share: texts, versions, weights; stored once under a number made from it."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from scoring.decisions.answer_form import encoded, form_json, read_form, store_form
from scoring.engine import AnswerForm, CostPolicy, FeatureColumn, FeatureSchema, Outcome, Rule
from scoring.models import AnswerForm as StoredForm
from tests.scoring.decisions.programs import risk_program

AMOUNT = {"op": "ge", "args": [{"feature": "amount_minor"}, {"number": 0}]}
ON_A_LIST = {"in_list": "blocked_devices"}


def rule(when: dict, weight: float = 0.5, name: str = "r") -> Rule:
    return Rule(name, 1, when, None, Outcome.REVIEW, weight, "because", "test")


def program(**changed):
    return risk_program(forest=False, **changed)


@pytest.mark.parametrize(
    ("when", "source"),
    [
        (AMOUNT, "rule"),
        (ON_A_LIST, "list"),
        ({"op": "not", "args": [ON_A_LIST]}, "list"),
        ({"op": "or", "args": [ON_A_LIST, {"op": "not", "args": [ON_A_LIST]}]}, "list"),
        ({"op": "and", "args": [ON_A_LIST, AMOUNT]}, "rule"),
    ],
)
def test_a_rule_that_asks_lists_alone_is_a_reason_of_the_lists(when, source):
    (told,) = form_json(program(rules=(rule(when),)))["rules"]
    assert (told["source"], told["code"], told["text"]) == (source, f"{source}.r", "because")


@pytest.mark.parametrize("weight", [0.01, 0.5, 0.99])
def test_a_rules_weight_is_told_on_the_models_scale(weight):
    (told,) = form_json(program(rules=(rule(AMOUNT, weight),)))["rules"]
    assert told["weight"] == pytest.approx(-math.log(1 - weight), abs=5e-5)


def test_versions_say_what_made_an_answer():
    with_model, without = (dict(form_json(risk_program(forest=forest, version="v7"))["versions"]) for forest in (True, False))
    assert (with_model["program"], with_model["model"]) == ("v7", "v7")
    assert (without["program"], without["model"]) == ("v7", None)
    assert with_model["ruleset"] == without["ruleset"]


def test_the_number_is_a_function_of_what_is_told_and_of_nothing_else():
    number, body = encoded(form_json(program()))
    assert (number, body) == encoded(form_json(program())), "built again, and of other objects"
    assert json.loads(body) == form_json(program())
    assert 0 <= number < 2**63
    schema = program().schema
    first = schema.columns[0]
    others = [
        program(version="another"),
        program(rules=program().rules[::-1]),
        program(rules=(replace(program().rules[0], reason="another"), *program().rules[1:])),
        program(policy=CostPolicy(review_cost_minor=1)),
        risk_program(),
        program(schema=FeatureSchema((FeatureColumn(first.name, first.unit, "another text"), *schema.columns[1:]))),
    ]
    assert len({number, *(encoded(form_json(other))[0] for other in others)}) == 1 + len(others)


@pytest.mark.any_database
@pytest.mark.django_db
def test_a_form_is_stored_once_and_read_back_whole():
    numbers = []
    for made in (program(), program(), program(version="another")):
        number, body = encoded(form_json(made))
        store_form(number, body)
        numbers.append(number)
        assert read_form(number).to_json() == AnswerForm.from_json(form_json(made)).to_json()
    assert set(StoredForm.objects.values_list("id", flat=True)) == set(numbers) and len(set(numbers)) == 2


@pytest.mark.django_db
def test_a_form_that_is_not_stored():
    with pytest.raises(StoredForm.DoesNotExist):
        read_form(7)
