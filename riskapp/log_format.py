"""One JSON object a line; digits that could be a card number are masked wherever they appear."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType

from scoring.transactions import holds_card_number

_MASK = "[digits removed]"
# 13-19 digits with at most a space or a hyphen between two of them: masked whatever they are.
_LONG_DIGITS = re.compile(r"\d(?:[ -]?\d){12,18}")
# The same with other things between groups, as in addresses and quoted text ("4111%201111+1111.1111"): only what could
# be a card's number, for times and versions look like this too.
_SEPARATOR = r"(?:%[0-9A-Fa-f]{2}|\\[a-z]|[^\w\s]|[\s_])"
_SPREAD_DIGITS = re.compile(rf"\d+(?:{_SEPARATOR}{{1,3}}\d+)+")
_BETWEEN = re.compile(_SEPARATOR + "{1,3}")
_LONGEST_CARD = 19
# Names that we make up ourselves, and that may by chance look like a card's number: request ids, decision ids (UUID) and
# program versions (day, digest, count). No card's number begins with 20, nor has it 24 digits or more.
_OURS = re.compile(
    r"(?<!\w)(?:req_[0-9a-f]{24}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|20[0-9]{6}-[0-9a-f]{8,16}-[0-9]{1,6})(?!\w)"
)
_IDS = ("request_id", "decision_id", "run_id")
_TEXTS = ("door", "code", "outcome", "caller")
# A figure has no need of thirteen digits.
_LARGEST_FIGURE = 10**12
_NUMBERS = ("status", "duration_ms", "count", "unlogged")


def redact(text: str) -> str:
    """Mask every run of 13-19 digits, and every looser row of digits that a card number could be hidden in."""
    parts, start = [], 0
    for ours in _OURS.finditer(text):
        parts += (_masked(text[start : ours.start()]), ours[0])
        start = ours.end()
    return "".join((*parts, _masked(text[start:])))


def _masked(text: str) -> str:
    return _SPREAD_DIGITS.sub(_without_cards, _LONG_DIGITS.sub(_MASK, text))


def _without_cards(found: re.Match[str]) -> str:
    groups = _BETWEEN.split(found[0])
    for first in range(len(groups)):
        digits = ""
        for group in groups[first : first + _LONGEST_CARD]:
            digits += group
            if len(digits) > _LONGEST_CARD:
                break
            if len(digits) >= 13 and holds_card_number(digits):
                return _MASK
    return found[0]


class JsonFormatter(logging.Formatter):
    """Time, level, logger and message, with the request, decision and run ids and the figures that the caller gave."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        for name in _IDS:
            if value := getattr(record, name, None):
                entry[name] = redact(str(value))
        for name in _TEXTS:
            if (value := getattr(record, name, None)) is not None:
                entry[name] = redact(str(value))
        for name in _NUMBERS:
            if isinstance(value := getattr(record, name, None), int | float) and abs(value) < _LARGEST_FIGURE:
                entry[name] = value
        if record.exc_info:
            entry["exception"] = redact(self.formatException(record.exc_info))
        if record.stack_info:
            entry["stack"] = redact(self.formatStack(record.stack_info))
        return json.dumps(entry, ensure_ascii=False)


def log_uncaught() -> None:
    """Send warnings, and what nothing has caught, through the log, where they are masked, and not to the error stream."""
    logging.captureWarnings(True)
    logger = logging.getLogger("riskapp.uncaught")

    def in_main(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        else:
            logger.critical("the process ends", exc_info=(kind, error, trace))

    def in_thread(hook: threading.ExceptHookArgs) -> None:
        if hook.exc_value is not None and not issubclass(hook.exc_type, SystemExit):
            name = hook.thread.name if hook.thread else "?"
            logger.critical("thread %s ended", name, exc_info=(hook.exc_type, hook.exc_value, hook.exc_traceback))

    sys.excepthook, threading.excepthook = in_main, in_thread
