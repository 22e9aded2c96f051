"""A batch's rows of the ledger, from the arrays that it was decided with."""

from __future__ import annotations

import functools

import numpy as np

from scoring.decisions.accepted import Accepted
from scoring.decisions.evidence import EVIDENCE
from scoring.decisions.program_source import LiveProgram
from scoring.decisions.score_batch import ScoredBatch
from scoring.decisions.stamps import DEGRADING, MODES
from scoring.engine import ID_BYTES, AnswerColumns
from scoring.engine import table_rows as of
from scoring.ledger_tables import DECISIONS
from scoring.transaction_records import CURRENCY_CODES, transaction_reader

_READER = transaction_reader()
_TYPES, _CHANNELS = (
    next(field.choices for field in _READER.fields if field.name == name) for name in ("type", "channel")
)
_TEXT, _DECISION_IDS = range(2)


def ledger_rows(
    fresh: Accepted, scored: ScoredBatch, answers: AnswerColumns, live: LiveProgram, engine_us: int
) -> of.TableRows:
    """Return the rows of decisions that were scored and answered.

    Args:
        engine_us: time inside the engine so far, for the whole batch.
    """
    records, margin, x = fresh.records, scored.scored.margin, scored.rows.x
    n, top, rules = len(fresh), answers.top_features.shape[1], answers.rule_codes.shape[1]
    layout = _layout(live.form_number, live.program.schema.version, live.program.version, x.shape[1], top, rules)
    integers, codes = records.integers, records.codes
    arrays = (
        records.ends[1:], answers.occurred_us, answers.received_us, integers["amount_minor"], answers.probability,
        records.starts, records.lengths, codes["currency"], codes["type"], codes["channel"], answers.score, margin,
        answers.stamps, np.full(n, engine_us, np.uint32), answers.queue_us, answers.features_us, answers.program_us,
        answers.top_contributions, x, answers.top_features.astype(np.uint16), answers.outcome, answers.rule_codes,
    )  # fmt: skip
    return layout.write(n, arrays, (records.text, answers.decision_ids))


@functools.lru_cache(maxsize=4)
def _layout(form: int, feature_schema: str, program_version: str, features: int, top: int, rules: int) -> of.RowLayout:
    """Return the layout of one program's rows, with the arrays of `ledger_rows` in their order."""
    tokens = of.Array("i4", len(_READER.token_fields))
    eight = dict.fromkeys(("text_ends", "occurred_at", "received_at", "amount_minor"), of.Array("i8"))
    codes = dict.fromkeys(("currency", "type", "channel", "score"), of.Array("i4"))
    times = dict.fromkeys(("stamps", "engine_us", "queue_us", "features_us", "program_us"), of.Array("u4"))
    arrays = {
        **eight, "probability": of.Array("f8"), "starts": tokens, "lengths": tokens, **codes, "margin": of.Array("f4"), **times,
        "top_contributions": of.Array("f4", top), "features": of.Array("f4", features), "top_features": of.Array("u2", top),
        "outcome": of.Array("u1"), "rule_codes": of.Array("u1", rules),
    }  # fmt: skip
    columns = {
        "decision_id": of.Slice(_DECISION_IDS, ID_BYTES),
        "currency": of.Word("currency", CURRENCY_CODES),
        "type": of.Word("type", _TYPES),
        "channel": of.Word("channel", _CHANNELS),
        "transaction": of.Part(_TEXT, "text_ends"),
        "features": of.PackedRow("features"),
        "feature_schema": of.Constant(feature_schema),
        "program_version": of.Constant(program_version),
        "degraded": of.Flag("stamps", DEGRADING),
        "mode": of.LowestBit("stamps", MODES),
        "form_id": of.Constant(form),
        "evidence": EVIDENCE,
        "response": of.Constant(None),
    }
    for name in ("transaction_id", "customer_id", "card_id", "merchant_id", "country"):
        columns[name] = of.Token(_TEXT, "starts", "lengths", _READER.token_fields.index(name))
    columns |= {name: of.Number(name) for name in DECISIONS.columns if name not in columns}
    return of.RowLayout(arrays, DECISIONS.ordered(columns), texts=2)
