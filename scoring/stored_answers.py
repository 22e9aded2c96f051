"""The answer of a stored decision, byte for byte as it was sent: rendered from its evidence by its form."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import numpy as np

from scoring.decisions.answer_form import read_form, row_width
from scoring.decisions.evidence import unpack_evidence
from scoring.engine import AnswerColumns, AnswerForm, render_answers, unpack_rows
from scoring.errors import AnswerUnreadable
from scoring.models import AnswerForm as StoredForm
from scoring.models import Decision
from scoring.transactions import utc_microseconds

# What `stored_answers` reads of a decision.
NEEDED = (
    "decision_id", "transaction_id", "occurred_at", "received_at", "outcome", "score", "probability", "features", "stamps",
    "form_id", "evidence", "response",
)  # fmt: skip


_form = functools.lru_cache(maxsize=64)(read_form)


def stored_answer(decision: Decision) -> bytes:
    """Return the answer of one decision.

    Raises:
        AnswerUnreadable: what is stored of it is damaged.
    """
    return stored_answers([decision])[0]


def stored_answers(decisions: Iterable[Decision]) -> list[bytes]:
    """Return the answers of decisions (or rows with the attributes in NEEDED), in order.

    Raises:
        AnswerUnreadable: what is stored of one of them is damaged.
    """
    decisions = list(decisions)
    answers: list[bytes] = [b""] * len(decisions)
    by_form: dict[int, list[int]] = {}
    for place, decision in enumerate(decisions):
        if decision.form_id is None:
            answers[place] = decision.response.encode()
        else:
            by_form.setdefault(decision.form_id, []).append(place)
    for number, places in by_form.items():
        for place, answer in zip(places, _rendered(number, [decisions[i] for i in places]), strict=True):
            answers[place] = answer
    return answers


def _rendered(number: int, decisions: Sequence[Decision]) -> Iterable[bytes]:
    try:
        return _render(_form(number), decisions)
    except (ValueError, TypeError, IndexError, StoredForm.DoesNotExist) as error:
        for one in decisions if len(decisions) > 1 else ():
            _rendered(number, [one])  # which of them it is
        raise AnswerUnreadable(decisions[0].decision_id, str(error)) from error


def _render(form: AnswerForm, decisions: Sequence[Decision]) -> Iterable[bytes]:
    evidence = unpack_evidence([bytes(of.evidence) for of in decisions], len(form.rules))
    x = unpack_rows([bytes(of.features) for of in decisions], row_width(form))
    values = np.column_stack([x, np.ones(len(x), np.float32)])  # behind the features the net, told with 1
    text = "".join(of.transaction_id for of in decisions).encode()
    lengths = np.array([len(of.transaction_id) for of in decisions], np.int32)
    probability = [np.nan if of.probability is None else of.probability for of in decisions]
    queue_us, features_us, program_us = np.ascontiguousarray(evidence.times_us.T)
    return render_answers(
        form,
        AnswerColumns(
            decision_ids="".join(of.decision_id for of in decisions).encode(),
            text=text,
            probability=np.array(probability, np.float64),
            occurred_us=np.array([utc_microseconds(of.occurred_at) for of in decisions], np.int64),
            received_us=np.array([utc_microseconds(of.received_at) for of in decisions], np.int64),
            id_starts=(np.cumsum(lengths) - lengths).astype(np.int32),
            id_lengths=lengths,
            score=np.array([of.score for of in decisions], np.int32),
            top_features=evidence.top_features,
            top_contributions=evidence.top_contributions,
            top_values=np.take_along_axis(values, evidence.top_features, axis=1),
            stamps=np.array([of.stamps for of in decisions], np.uint32),
            queue_us=queue_us,
            features_us=features_us,
            program_us=program_us,
            outcome=np.array([of.outcome for of in decisions], np.uint8),
            rule_codes=evidence.rule_codes,
        ),
    )
