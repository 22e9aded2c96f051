"""What is kept of a decision beside its columns, so that its answer can be rendered again byte for byte.

Little-endian: three uint32 (queue, features and program time, microseconds), K uint16 features and K float32
contributions of the K largest, then a byte a rule. K follows from the length and the form's number of rules.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scoring.engine import table_rows

_TIMES, _TOP = 12, 6
EVIDENCE = table_rows.Joined(
    ("queue_us", "features_us", "program_us", "top_features", "top_contributions", "rule_codes")
)
"""How it is made from a batch's arrays: uint32 [n] three times, uint16 [n, K], float32 [n, K], uint8 [n, R]."""


@dataclass(frozen=True)
class Evidence:
    """Of n decisions; the arrays are those of scoring.engine.AnswerColumns.

    Attributes:
        times_us: uint32 [n, 3]: queue, features, program.
        top_features, top_contributions: int32 and float32 [n, K].
        rule_codes: uint8 [n, R].
    """

    times_us: np.ndarray
    top_features: np.ndarray
    top_contributions: np.ndarray
    rule_codes: np.ndarray


def unpack_evidence(packed: list[bytes], rules: int) -> Evidence:
    """Return the evidence of n decisions of one form with so many rules.

    Raises:
        ValueError: they are not of that form.
    """
    width = len(packed[0])
    top, rest = divmod(width - _TIMES - rules, _TOP)
    if rest or top < 0 or any(len(of) != width for of in packed):
        raise ValueError(f"evidence of {width} bytes does not belong to a form of {rules} rules")
    bytes_of = np.frombuffer(b"".join(packed), np.uint8).reshape(len(packed), width)
    edges = (_TIMES, _TIMES + 2 * top, _TIMES + _TOP * top)
    times, features, contributions, codes = (np.ascontiguousarray(part) for part in np.split(bytes_of, edges, axis=1))
    return Evidence(
        times.view("<u4"), features.view("<u2").astype(np.int32), contributions.view("<f4").astype(np.float32), codes
    )
