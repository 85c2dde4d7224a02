"""Knows how a log line is written: for people, or as a JSON object.

It refuses to know what is logged. What callers send (ids, texts, titles, vectors) never is; a call is
known by its request id alone.
"""

import json
import logging
import sys
import time
import traceback
from collections.abc import Iterator
from typing import Any

from ilk.errors import IlkError
from server.settings import LogFormat

# What a record carries beside these was given by `extra`, and is a field of the line.
_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, message, the worker, and the fields given by ``extra``."""

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON; never fails on a field's type."""
        line: dict[str, Any] = {
            "time": _utc(record.created),
            "level": record.levelname,
            "message": record.getMessage(),
        }
        if self._worker is not None:
            line["worker"] = self._worker
        line.update((k, v) for k, v in vars(record).items() if k not in _STANDARD)
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """Time, level, the worker and the message."""

    def __init__(self, worker: int | None = None) -> None:
        who = "" if worker is None else f" [worker {worker}]"
        super().__init__(f"%(asctime)s %(levelname)s{who} %(message)s")


def configure(log_format: LogFormat, worker: int | None = None) -> None:
    """Send the log of this process to stderr, in one format; called once, as it starts."""
    handler = logging.StreamHandler(sys.stderr)
    kind = JsonFormatter if log_format == "json" else TextFormatter
    handler.setFormatter(kind(worker))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("ilk").setLevel(logging.INFO)


def _utc(moment_s: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment_s))
    return f"{whole}.{int(moment_s % 1 * 1000):03d}Z"


def cause_of(error: BaseException) -> str:
    """Return where an error was raised, and its causes.

    The texts of our own errors name files and settings. Those of others may quote an id or a text that
    a caller sent, and are left out.
    """
    lines = []
    for at, link in enumerate(_chain(error)):
        text = f": {link}" if isinstance(link, IlkError) else ""
        name = type(link).__qualname__
        lines.append(f"{'caused by ' if at else ''}{name}{text}\n")
        lines.extend(traceback.format_tb(link.__traceback__))
    return "".join(lines).rstrip()


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
