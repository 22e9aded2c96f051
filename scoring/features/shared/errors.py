"""What can happen to the shared log."""

from __future__ import annotations

ANY_EPOCH = "*"


class SharedLogUnavailable(Exception):
    """The log did not answer, or not in time. Whether entries that were sent were appended is not known."""


class SharedLogLost(Exception):
    """This process no longer follows the log, and must rebuild from the ledger and join again.

    Attributes:
        bad_epoch: the log that nobody may go on with, where it is the log that is wrong and not this process; ANY_EPOCH
            where nobody may go on with whatever log there is by then.
    """

    def __init__(self, message: str, bad_epoch: str = "") -> None:
        super().__init__(message)
        self.bad_epoch = bad_epoch
