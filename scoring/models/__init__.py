"""The tables: the decision ledger (append-only), labels, alerts, rules, releases, training runs and the audit trail."""

from scoring.models.alert import Alert
from scoring.models.api_key import ApiKey
from scoring.models.audit import AuditEntry
from scoring.models.decision import BACKFILL, AnswerForm, Decision, Outcome
from scoring.models.engine_sample import EngineSample
from scoring.models.entity_index import EntityIndexGap, EntityIndexMark, EntitySegment
from scoring.models.label import Label, LabelKind, LabelSource
from scoring.models.outbox import OutboxEvent
from scoring.models.release import ProgramRelease
from scoring.models.rule import ListEntry, Rule, RuleVersion
from scoring.models.training_run import TrainingRun

__all__ = [
    "BACKFILL",
    "Alert",
    "AnswerForm",
    "ApiKey",
    "AuditEntry",
    "Decision",
    "EngineSample",
    "EntityIndexGap",
    "EntityIndexMark",
    "EntitySegment",
    "Label",
    "LabelKind",
    "LabelSource",
    "ListEntry",
    "OutboxEvent",
    "Outcome",
    "ProgramRelease",
    "Rule",
    "RuleVersion",
    "TrainingRun",
]
