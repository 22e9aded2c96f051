"""One JSON object a line; digits that could be a card number are masked wherever they appear."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime

_LONG_DIGITS = re.compile(r"\d(?:[ -]?\d){12,18}")
_CONTEXT = ("request_id", "decision_id", "run_id")


def redact(text: str) -> str:
    """Mask every run of 13-19 digits (separators allowed), which is how a card number looks."""
    return _LONG_DIGITS.sub("[digits removed]", text)


class JsonFormatter(logging.Formatter):
    """Time, level, logger and message, with the request, decision and run ids where the caller gave them."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        for name in _CONTEXT:
            if value := getattr(record, name, None):
                entry[name] = str(value)
        if record.exc_info:
            entry["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False)
