"""Scheduling: which rows run when, where and with which variant of the program. Reads no clock; see scheduler.py."""

from inference_core.scheduling.config import DynamicBatchConfig, Priority
from inference_core.scheduling.cost_model import CostModel, OnlineLine
from inference_core.scheduling.expected_completion import ExpectedCompletion, Tuning
from inference_core.scheduling.policy import Policy, Situation, Unit
from inference_core.scheduling.row_queue import RowQueue, RowRing, Run
from inference_core.scheduling.scheduler import Dispatch, Refusal, Scheduler
from inference_core.scheduling.waiting_queue import Waiting, WaitingQueue

__all__ = [
    "CostModel",
    "Dispatch",
    "DynamicBatchConfig",
    "ExpectedCompletion",
    "OnlineLine",
    "Policy",
    "Priority",
    "Refusal",
    "RowQueue",
    "RowRing",
    "Run",
    "Scheduler",
    "Situation",
    "Tuning",
    "Unit",
    "Waiting",
    "WaitingQueue",
]
