"""The embedded inference framework: feature windows, rules and forest in one program. Imports no Django."""

from importlib import import_module
from typing import Any

from inference_core import table_rows
from inference_core.answers import AnswerColumns, AnswerForm, Rendered, render_answers
from inference_core.calibration import Calibration, fit_platt
from inference_core.errors import ArtifactRefused, InferenceError, ProgramError, RuleError, SchedulingError, SchemaMismatch
from inference_core.export import program_to_onnx
from inference_core.forest import Forest
from inference_core.fusion import deepseek_fuse
from inference_core.ids import ID_BYTES, RANDOM_BYTES, ordered_ids
from inference_core.net import Blend, NetLayer, QuantisedNet
from inference_core.outcomes import Outcome, RuleOutcome
from inference_core.packed import pack_rows, unpack_rows
from inference_core.policy import CostPolicy, default_policy
from inference_core.program import DecidedRows, ProgramResult, RiskProgram, RowFlags, ScoredRows
from inference_core.rules import Rule, rule_from_json, rule_to_json
from inference_core.runtime import CostLine, Device, LadderCounters, Serving, cpu_device, detect_devices
from inference_core.scheduling import (
    CostModel,
    Dispatch,
    DynamicBatchConfig,
    ExpectedCompletion,
    Priority,
    Scheduler,
    Tuning,
    Waiting,
)
from inference_core.scheduling.learned import LearnedConfig
from inference_core.scheduling.trained import trained_policy
from inference_core.schema import FeatureColumn, FeatureSchema
from inference_core.tokens import (
    EntityPlan,
    EntityTables,
    IdSet,
    TokenTable,
    open_entity_tables,
    open_id_set,
    open_token_table,
    spans_of,
)
from inference_core.value_columns import Operation, Recipe, RecipeBook, open_value_columns
from inference_core.windows import (
    ABSENT,
    UNKNOWN,
    Aggregation,
    EventBatch,
    EventLogs,
    KernelInputError,
    LogExport,
    WindowLayout,
    WindowStore,
    open_window_store,
)
from kernels.flat_records import FieldKind, RecordField, RecordReader, Records
from kernels.native import has_compiled_kernels

__all__ = [
    "Waiting",
    "Tuning",
    "SchedulingError",
    "Scheduler",
    "Priority",
    "LearnedConfig",
    "trained_policy",
    "ExpectedCompletion",
    "DynamicBatchConfig",
    "Dispatch",
    "CostModel",
    "CostLine",
    "ABSENT",
    "UNKNOWN",
    "Aggregation",
    "AnswerColumns",
    "AnswerForm",
    "ArtifactRefused",
    "Blend",
    "Calibration",
    "CostPolicy",
    "DecidedRows",
    "Device",
    "EntityPlan",
    "EntityTables",
    "EventBatch",
    "EventLogs",
    "FeatureColumn",
    "FeatureSchema",
    "FieldKind",
    "Forest",
    "IdSet",
    "InferenceError",
    "KernelInputError",
    "LadderCounters",
    "LogExport",
    "NetLayer",
    "ID_BYTES",
    "RANDOM_BYTES",
    "ordered_ids",
    "Operation",
    "Outcome",
    "ProgramError",
    "ProgramResult",
    "QuantisedNet",
    "Recipe",
    "RecipeBook",
    "RecordField",
    "RecordReader",
    "Records",
    "Rendered",
    "RiskProgram",
    "RowFlags",
    "Rule",
    "RuleError",
    "RuleOutcome",
    "SchemaMismatch",
    "ScoredRows",
    "Serving",
    "TokenTable",
    "WindowLayout",
    "WindowStore",
    "cpu_device",
    "deepseek_fuse",
    "default_policy",
    "detect_devices",
    "fit_platt",
    "has_compiled_kernels",
    "load_or_create_signing_key",
    "load_program",
    "load_verify_key",
    "net_from_bytes",
    "net_to_bytes",
    "open_entity_tables",
    "open_id_set",
    "open_token_table",
    "open_value_columns",
    "open_window_store",
    "pack_rows",
    "program_to_onnx",
    "render_answers",
    "rule_from_json",
    "rule_to_json",
    "save_program",
    "spans_of",
    "table_rows",
    "unpack_rows",
]

# Reached on first use: signatures need the cryptography package and stored nets safetensors, which a machine that only runs
# programs may lack.
_SIGNED = ("load_or_create_signing_key", "load_program", "load_verify_key", "save_program")
_STORED = ("net_from_bytes", "net_to_bytes")


def __getattr__(name: str) -> Any:
    if name in _SIGNED:
        return getattr(import_module("inference_core.artifacts"), name)
    if name in _STORED:
        return getattr(import_module("inference_core.net.storage"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
