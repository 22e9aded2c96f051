"""What was out of the ordinary: bits that may be set together, and one word for the gravest."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from scoring.decisions.answer_form import form_json
from scoring.decisions.stamps import DEGRADING, MODES, NORMAL, NOT_DEGRADED, WORDS, Stamp
from scoring.engine import AnswerColumns, AnswerForm, render_answers
from scoring.models import Decision
from tests.scoring.decisions.programs import risk_program

PAIRS = list(itertools.combinations(Stamp, 2))
SETS = [0, *map(int, Stamp), *(int(a | b) for a, b in PAIRS), 2 ** len(Stamp) - 1]


def mode_of(stamps: int) -> str:
    """As the ledger's column `mode` is made: kernels.table_rows.LowestBit."""
    return MODES[(stamps & -stamps).bit_length()]


def is_degraded(stamps: int) -> bool:
    """As the ledger's column `degraded` is made: kernels.table_rows.Flag."""
    return stamps & DEGRADING != 0


def test_numbers_and_words_are_kept_for_ever():
    assert [(stamp.name.lower(), stamp.value) for stamp in Stamp] == [
        ("rules_only", 1),
        ("degraded_model", 2),
        ("degraded_device", 4),
        ("degraded_features", 8),
        ("degraded_rules", 16),
        ("reduced_program", 32),
        ("late_event", 64),
        ("clock_step", 128),
        ("backfill", 256),
    ]
    assert WORDS == tuple(stamp.name.lower() for stamp in Stamp)
    assert max(map(len, (*WORDS, NORMAL))) <= Decision._meta.get_field("mode").max_length


def test_the_gravest_names_the_mode():
    assert mode_of(0) == NORMAL
    assert [mode_of(int(stamp)) for stamp in Stamp] == list(WORDS)
    assert all(mode_of(int(graver | other)) == graver.name.lower() for graver, other in PAIRS)


def test_history_alone_is_not_degraded():
    assert not is_degraded(0) and not is_degraded(int(Stamp.BACKFILL))
    assert all(is_degraded(int(stamp)) for stamp in Stamp if stamp != Stamp.BACKFILL)
    assert is_degraded(int(Stamp.BACKFILL | Stamp.CLOCK_STEP))
    assert NOT_DEGRADED == ("backfill",)


def rendered(stamps: list[int]) -> list[dict]:
    form, n = AnswerForm.from_json(form_json(risk_program(forest=False))), len(stamps)
    times, numbers = np.zeros(n, np.uint32), np.zeros(n, np.int64)
    columns = AnswerColumns(
        decision_ids=b"-" * 36 * n,
        text=b"tx",
        probability=np.full(n, np.nan),
        occurred_us=numbers,
        received_us=numbers,
        id_starts=np.zeros(n, np.int32),
        id_lengths=np.full(n, 2, np.int32),
        score=np.zeros(n, np.int32),
        top_features=np.zeros((n, 0), np.int32),
        top_contributions=np.zeros((n, 0), np.float32),
        top_values=np.zeros((n, 0), np.float32),
        stamps=np.array(stamps, np.uint32),
        queue_us=times,
        features_us=times,
        program_us=times,
        outcome=np.zeros(n, np.uint8),
        rule_codes=np.zeros((n, len(form.rules)), np.uint8),
    )
    return [json.loads(answer) for answer in render_answers(form, columns)]


def test_an_answer_names_all_of_them_and_agrees_with_the_ledgers_columns():
    for stamps, answer in zip(SETS, rendered(SETS), strict=True):
        assert answer["stamps"] == [stamp.name.lower() for stamp in Stamp if stamps & stamp], stamps
        assert (answer["mode"], answer["degraded"]) == (mode_of(stamps), is_degraded(stamps)), stamps


@pytest.mark.parametrize("stamps", [2 ** len(Stamp), 2**31])
def test_a_bit_that_is_no_stamp_is_refused(stamps):
    with pytest.raises(ValueError, match="stamp"):
        rendered([stamps])
