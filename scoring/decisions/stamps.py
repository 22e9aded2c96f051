"""What was out of the ordinary when a decision was made: a bit each, the gravest first; several may be set at once."""

from __future__ import annotations

from enum import IntFlag

NORMAL = "normal"


class Stamp(IntFlag):
    """The names in lower case are the words of the answer; their order and numbers are kept for ever."""

    RULES_ONLY = 1  # there is no model yet
    DEGRADED_MODEL = 2  # the model gave no usable probability
    DEGRADED_DEVICE = 4  # an accelerator failed and the CPU did its work
    DEGRADED_FEATURES = 8  # the shared feature store could not be asked: this process's own windows answered
    DEGRADED_RULES = 16  # a rule failed
    REDUCED_PROGRAM = 32  # under load a part of the program was left out
    LATE_EVENT = 64  # the event lies further back than windows are kept exactly for
    CLOCK_STEP = 128  # the server's clock jumped shortly before
    BACKFILL = 256  # history that was dealt with already


WORDS = tuple(stamp.name.lower() for stamp in Stamp)
NOT_DEGRADED = (Stamp.BACKFILL.name.lower(),)
MODES = (NORMAL, *WORDS)
"""The mode of a decision: the first word without a stamp, otherwise that of the lowest bit, which is the gravest."""
DEGRADING = sum(int(stamp) for stamp in Stamp if stamp != Stamp.BACKFILL)
"""The stamps that say that a decision was made with less than it should have been."""
