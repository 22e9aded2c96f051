"""Outcome codes of rules from the words of bits that the kernels return."""

from __future__ import annotations

import numpy as np

from inference_core.outcomes import RuleOutcome
from kernels.tables import RuleBits


def outcome_codes(bits: RuleBits, rules: int) -> np.ndarray:
    """Return RuleOutcome codes [B, R] uint8 of words [B, W]; R is the number of rules. No bit is NO_HIT."""
    codes = _unpacked(bits.hit, rules) * np.uint8(RuleOutcome.HIT)
    codes += _unpacked(bits.insufficient, rules) * np.uint8(RuleOutcome.INSUFFICIENT_HISTORY)
    codes += _unpacked(bits.error, rules) * np.uint8(RuleOutcome.ERROR)
    return codes


def _unpacked(words: np.ndarray, rules: int) -> np.ndarray:
    if not rules:
        return np.zeros((len(words), 0), np.uint8)
    bytes_ = np.ascontiguousarray(words, "<u8").view(np.uint8)  # lowest byte first on every machine
    return np.unpackbits(bytes_, axis=1, count=rules, bitorder="little")
