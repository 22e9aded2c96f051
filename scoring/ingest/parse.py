"""Read a mapping file and check it as a whole, so that a mistake is told before the first row."""

import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scoring.ingest.contract import (
    FLAG_FIELDS,
    LABEL_SOURCES,
    NUMBER_FIELDS,
    OWNER_FIELDS,
    REQUIRED_FIELDS,
    TEXT_FIELDS,
    is_allowed_text,
)
from scoring.ingest.errors import MappingError
from scoring.ingest.mapping import AmountRule, FieldRule, IdRule, LabelRule, Mapping, TimeRule
from scoring.ingest.section import Section

_ALL_FIELDS = (*TEXT_FIELDS, *NUMBER_FIELDS, *FLAG_FIELDS)
_TIME_KINDS = ("datetime", "seconds", "days")
_TOKENS = ("plain", "slug", "keyed_hash", "row_number")


def read_mapping(path: Path) -> Mapping:
    """Read and check a mapping file.

    Raises:
        MappingError: the file is missing, is not TOML, or holds a wrong key or value.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MappingError(f"There is no mapping file {path}.", remedy="Give the path of an existing .toml file.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MappingError(f"{path.name} is not valid TOML: {error}.", remedy="Correct the line it names.") from None
    return parse_mapping(document, file_name=path.name)


def parse_mapping(document: dict[str, Any], *, file_name: str) -> Mapping:
    """Turn a parsed mapping document into a `Mapping`; raises `MappingError`."""
    section = Section(document, file_name, "")
    label = section.table("label", required=False)
    mapping = Mapping(
        name=section.text("name"),
        description=section.text("description", default=""),
        signature=frozenset(section.value("signature", list, default=[])),
        transaction_id=_id_rule(section.table("transaction_id")),
        occurred_at=_time_rule(section.table("occurred_at")),
        amount=_amount_rule(section.table("amount")),
        fields=_field_rules(section.table("fields")),
        label=None if label is None else _label_rule(label),
    )
    section.finish()
    return mapping


def _id_rule(section: Section) -> IdRule:
    rule = IdRule(prefix=section.text("prefix"), column=section.text("column", default=None))
    if not any(character.isalpha() for character in rule.prefix):
        section.fail("prefix", "must hold a letter, so that an id never reads as a card number")
    section.finish()
    return rule


def _time_rule(section: Section) -> TimeRule:
    kind = section.choice("kind", _TIME_KINDS)
    origin = section.value("origin", datetime, default=datetime(1970, 1, 1, tzinfo=UTC))
    if origin.tzinfo is None:
        section.fail("origin", "must carry an offset, such as 2018-04-01T00:00:00Z")
    rule = TimeRule(
        column=section.text("column"),
        kind=kind,
        origin_us=round(origin.timestamp()) * 1_000_000,
        sort=section.value("sort", bool, default=False),
        tie_step_us=section.value("tie_step_us", int, default=0),
    )
    if rule.tie_step_us < 0:
        section.fail("tie_step_us", "must not be negative")
    section.finish()
    return rule


def _amount_rule(section: Section) -> AmountRule:
    rule = AmountRule(column=section.text("column"), minor_per_unit=section.value("minor_per_unit", int))
    if rule.minor_per_unit < 1:
        section.fail("minor_per_unit", "must be 1 or more (100 for cents)")
    section.finish()
    return rule


def _label_rule(section: Section) -> LabelRule:
    rule = LabelRule(
        column=section.text("column"),
        fraud_values=frozenset(section.value("fraud_values", list)),
        delay_days=float(section.value("delay_days", (int, float))),
        source=section.choice("source", LABEL_SOURCES),
        required=section.value("required", bool, default=False),
    )
    if not rule.fraud_values or not all(isinstance(v, str) for v in rule.fraud_values):
        section.fail("fraud_values", 'must list texts, such as ["1", "true"]')
    if rule.delay_days <= 0:
        section.fail("delay_days", "must be positive: nobody reports a fraud before it happens")
    section.finish()
    return rule


def _field_rules(section: Section) -> dict[str, FieldRule]:
    names = section.keys()
    for name in names - set(_ALL_FIELDS):
        section.fail(name, f"is not a field of a payment; known: {', '.join(_ALL_FIELDS)}")
    for name in REQUIRED_FIELDS:
        if name not in names:
            section.fail(name, "is missing, and every payment needs it")
    if not names & set(OWNER_FIELDS):
        section.fail("", f"must give at least one of {', '.join(OWNER_FIELDS)}")
    rules = {name: _field_rule(name, section.table(name)) for name in _ALL_FIELDS if name in names}
    section.finish()
    return rules


def _field_rule(name: str, section: Section) -> FieldRule:
    kind: type | tuple[type, ...] = str
    if name in NUMBER_FIELDS:
        kind = (int, float)
    elif name in FLAG_FIELDS:
        kind = bool
    is_entity = name.endswith("_id")
    token = section.choice("token", _TOKENS, default="plain")
    rule = FieldRule(
        column=section.text("column", default=None),
        constant=section.value("constant", kind, default=None),
        token=token,
        prefix=section.text("prefix", default=""),
        values=section.value("values", dict, default={}),
        default=section.value("default", kind, default=None),
    )
    if token != "row_number" and (rule.column is None) == (rule.constant is None):
        section.fail("", "must give either `column` or `constant`")
    if token == "row_number" and (rule.column is not None or rule.constant is not None):
        section.fail("token", '"row_number" stands alone: drop `column` and `constant`')
    if not is_entity and (token != "plain" or rule.prefix):
        section.fail("token", "and `prefix` are for the *_id fields only")
    if is_entity and rule.constant is None and not any(c.isalpha() for c in rule.prefix):
        section.fail("prefix", "must hold a letter, so that a token never reads as a card number")
    for value in [*rule.values.values(), rule.default, rule.constant]:
        if value is None:
            continue
        if not isinstance(value, kind) or (kind is str and not is_allowed_text(name, value)):
            section.fail("", f"gives {value!r}, which is no {name}")
    section.finish()
    return rule
