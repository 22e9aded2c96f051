"""What is equal for all answers of one program: names, sentences, weights, versions."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from kernels.errors import KernelInputError

FORM_VERSION = 1
"""Of the bytes that a form renders. A change of any byte is another version beside this one: stored forms keep theirs."""

MAX_STAMPS = 32
MOST_REASONS = 16
MAX_WEIGHT = 1e9
Scalar = str | int | None


@dataclass(frozen=True)
class ReasonText:
    """A reason whose words are known beforehand. `weight` is written, and ranked, to 4 decimals."""

    code: str
    source: str
    text: str
    weight: float


@dataclass(frozen=True)
class RuleText:
    """A rule, and the reason that a hit of it is."""

    rule_id: str
    code: str
    source: str
    text: str
    weight: float


@dataclass(frozen=True)
class FeatureText:
    """A feature by its name, its unit (which says how a value is put in words) and what it says."""

    name: str
    unit: str
    text: str


@dataclass(frozen=True, eq=False)
class AnswerForm:
    """The part of an answer that its program decides; immutable, and kept with what was decided by it.

    Attributes:
        outcomes: words of the decision by code.
        rules: in the order of the columns of rule_codes.
        rule_outcomes: words by code.
        hit, no_hit: codes in rule_outcomes.
        features: in the order of the columns of a row.
        versions: (name, text, whole number or None) in the order in which they are written.
        stamps: words by bit, gravest first; at most 32.
        normal: the mode of an answer without a stamp.
        not_degraded: the stamps that do not make an answer degraded.
        no_probability: the reason that is given where there is no probability.
        least_contribution: a row's contributions count until the first below this, log-odds.
        max_reasons: at most so many reasons, 1 to 16.
    """

    outcomes: tuple[str, ...]
    rules: tuple[RuleText, ...]
    rule_outcomes: tuple[str, ...]
    hit: int
    no_hit: int
    features: tuple[FeatureText, ...]
    versions: tuple[tuple[str, Scalar], ...]
    stamps: tuple[str, ...]
    normal: str
    not_degraded: tuple[str, ...]
    no_probability: ReasonText
    least_contribution: float
    max_reasons: int

    def __post_init__(self) -> None:
        _check_words("outcomes", self.outcomes, 1, 256)
        _check_words("rule_outcomes", self.rule_outcomes, 1, 256)
        _check_words("stamps", self.stamps, 0, MAX_STAMPS)
        _check_words("not_degraded", self.not_degraded, 0, MAX_STAMPS)
        _check_words("versions", tuple(name for name, _ in self.versions), 0, 256)
        if strangers := set(self.not_degraded) - set(self.stamps):
            raise KernelInputError(f"not_degraded names what is no stamp: {', '.join(sorted(strangers))}")
        for name in ("hit", "no_hit"):
            if not 0 <= getattr(self, name) < len(self.rule_outcomes):
                raise KernelInputError(f"{name} must be a code of rule_outcomes; got {getattr(self, name)}")
        if not 1 <= self.max_reasons <= MOST_REASONS:
            raise KernelInputError(f"max_reasons must be 1 to {MOST_REASONS}; got {self.max_reasons}")
        if not (math.isfinite(self.least_contribution) and self.least_contribution > 0):
            raise KernelInputError(f"least_contribution must be above 0; got {self.least_contribution}")
        for reason in (*self.rules, self.no_probability):
            if not abs(reason.weight) <= MAX_WEIGHT:
                raise KernelInputError(f"the weight of {reason.code!r} must lie within 1e9 of 0; got {reason.weight}")
        if any(not feature.text for feature in self.features):
            raise KernelInputError("each feature needs a text")

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads; versions as pairs, because a jsonb column forgets the order of an object's keys."""
        return {"version": FORM_VERSION} | json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_json(cls, form: dict[str, Any]) -> AnswerForm:
        """Build a form from plain JSON values: the names of the attributes, and "version".

        `versions` may be an object or a list of [name, value] pairs.

        Raises:
            KernelInputError: a key is missing, unknown, or holds what it may not.
        """
        if not isinstance(form, dict) or form.get("version") != FORM_VERSION:
            found = form.get("version") if isinstance(form, dict) else form
            raise KernelInputError(f"an answer form of version {FORM_VERSION} is read here; got {found!r}")
        _check_keys("an answer form", form, {"version", *(field.name for field in fields(cls))})
        return cls(
            outcomes=_texts(form, "outcomes"),
            rules=tuple(_record(RuleText, "rules", rule) for rule in _list(form, "rules")),
            rule_outcomes=_texts(form, "rule_outcomes"),
            hit=_whole(form, "hit"),
            no_hit=_whole(form, "no_hit"),
            features=tuple(_record(FeatureText, "features", feature) for feature in _list(form, "features")),
            versions=_versions(form["versions"]),
            stamps=_texts(form, "stamps"),
            normal=_text("normal", form["normal"]),
            not_degraded=_texts(form, "not_degraded"),
            no_probability=_record(ReasonText, "no_probability", form["no_probability"]),
            least_contribution=_number("least_contribution", form["least_contribution"]),
            max_reasons=_whole(form, "max_reasons"),
        )

    @cached_property
    def degrading(self) -> int:
        """The bits of the stamps that make an answer degraded."""
        return sum(1 << bit for bit, stamp in enumerate(self.stamps) if stamp not in self.not_degraded)

    @cached_property
    def native(self):
        """The form as C reads it."""
        from kernels.render_answers.native_form import NativeForm

        return NativeForm(self)


def quoted(text: str) -> str:
    """Return a text as JSON, with its quotes; what is not ASCII stays as it is."""
    return json.dumps(text, ensure_ascii=False)


def versions_json(form: AnswerForm) -> str:
    """Return the versions as a JSON object."""
    return "{" + ",".join(f"{quoted(name)}:{json.dumps(value, ensure_ascii=False)}" for name, value in form.versions) + "}"


def ten_thousandths(number: float) -> int:
    """Return a weight or a value in whole 0.0001, to nearest, ties to even; exact for what is a float32."""
    return round(number * 1e4)


def decimal(units: int, digits: int) -> str:
    """Return units / 10^digits in the shortest decimal form with at least one digit after the point."""
    whole, part = divmod(abs(units), 10**digits)
    return f"{'-' if units < 0 else ''}{whole}.{f'{part:0{digits}}'.rstrip('0') or '0'}"


def capitalised(text: str) -> str:
    """Return the text with its first letter in upper case."""
    return text[0].upper() + text[1:]


def _check_keys(what: str, given: dict[str, Any], wanted: set[str]) -> None:
    if missing := sorted(wanted - set(given)):
        raise KernelInputError(f"{what} lacks {', '.join(missing)}")
    if unknown := sorted(set(given) - wanted):
        raise KernelInputError(f"{what} has keys that are not known: {', '.join(map(repr, unknown))}")


def _check_words(name: str, words: tuple[str, ...], least: int, most: int) -> None:
    if not least <= len(words) <= most:
        raise KernelInputError(f"{name} must be {least} to {most} words; got {len(words)}")
    if len(set(words)) != len(words):
        raise KernelInputError(f"{name} holds a word twice")


def _list(form: dict[str, Any], name: str) -> list:
    if not isinstance(form[name], list | tuple):
        raise KernelInputError(f"{name} must be a list; got {form[name]!r}")
    return list(form[name])


def _text(name: str, value: Any) -> str:
    try:
        if isinstance(value, str) and value.encode() is not None:
            return value
    except UnicodeEncodeError:
        raise KernelInputError(f"{name} holds half a surrogate pair, which UTF-8 cannot write") from None
    raise KernelInputError(f"{name} must be text; got {value!r}")


def _texts(form: dict[str, Any], name: str) -> tuple[str, ...]:
    return tuple(_text(name, value) for value in _list(form, name))


def _whole(form: dict[str, Any], name: str) -> int:
    if type(form[name]) is not int:
        raise KernelInputError(f"{name} must be a whole number; got {form[name]!r}")
    return form[name]


def _number(name: str, value: Any) -> float:
    if type(value) not in (int, float):
        raise KernelInputError(f"{name} must be a number; got {value!r}")
    return float(value)


def _record(kind: type, name: str, given: Any) -> Any:
    if not isinstance(given, dict):
        raise KernelInputError(f"{name} must hold objects; got {given!r}")
    wanted = {field.name for field in fields(kind)}
    _check_keys(f"an entry of {name}", given, wanted)
    read = {key: _number if key == "weight" else _text for key in wanted}
    return kind(**{key: read[key](f"{name}.{key}", given[key]) for key in wanted})


def _versions(given: Any) -> tuple[tuple[str, Scalar], ...]:
    pairs = list(given.items()) if isinstance(given, dict) else given
    if not isinstance(pairs, list | tuple) or any(not isinstance(pair, list | tuple) or len(pair) != 2 for pair in pairs):
        raise KernelInputError(f"versions must be an object or a list of pairs; got {given!r}")
    for name, value in pairs:
        if value is not None and type(value) is not int:
            _text(f"versions.{name}", value)
    return tuple((_text("versions", name), value) for name, value in pairs)
