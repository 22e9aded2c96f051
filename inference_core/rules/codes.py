"""Outcome codes of rules from the words of bits that the kernels return."""

from __future__ import annotations

import numpy as np

from kernels.tables import RuleBits


def outcome_codes(bits: RuleBits, rules: int) -> np.ndarray:
    """Return RuleOutcome codes [B, R] uint8 of words [B, W]; R is the number of rules.

    A rule has at most one bit on a row; none is NO_HIT.
    """
    # HIT is 01, INSUFFICIENT_HISTORY 10 and ERROR 11: two looks at the bits instead of three
    codes = _unpacked(bits.insufficient | bits.error, rules)
    codes += codes
    codes += _unpacked(bits.hit | bits.error, rules)
    return codes


def _unpacked(words: np.ndarray, rules: int) -> np.ndarray:
    if not rules:
        return np.zeros((len(words), 0), np.uint8)
    bytes_ = np.ascontiguousarray(words, "<u8").view(np.uint8)  # lowest byte first on every machine
    return np.unpackbits(bytes_, axis=1, count=rules, bitorder="little")
