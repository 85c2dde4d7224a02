"""Knows how a log line is written: for people, or as a JSON object.

It refuses to know what is logged. What callers send (ids, texts, titles, vectors) never is; a call is
known by its request id alone.
"""

import asyncio
import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any, TypeAlias

from ilk.errors import IlkError, InvalidRequest, NotFound
from server.settings import LogFormat

_ExcInfo: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)
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
            line["trace"] = _trace(record.exc_info)
        # ASCII alone: what a stream's encoding lacks would be no JSON.
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """Time, level, the worker and the message."""

    def __init__(self, worker: int | None = None) -> None:
        who = "" if worker is None else f" [worker {worker}]"
        super().__init__(f"%(asctime)s %(levelname)s{who} %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as lines; another formatter's words for its error are not believed."""
        return super().format(logging.makeLogRecord({**vars(record), "exc_text": None}))

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - the library's name
        """Return where an error was raised, and nothing that it holds."""
        return _trace(ei)


def configure(log_format: LogFormat, worker: int | None = None) -> None:
    """Send the log of this process to stderr, in one format; called once, as it starts."""
    handler = logging.StreamHandler(sys.stderr)
    kind = JsonFormatter if log_format == "json" else TextFormatter
    handler.setFormatter(kind(worker))
    handler.addFilter(tells_nothing_sent)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("ilk").setLevel(logging.INFO)
    logging.getLogger("grpc._cython.cygrpc").addFilter(is_not_of_a_lost_call)
    # What cannot be logged is not shown instead.
    logging.raiseExceptions = False
    sys.excepthook = lambda _, error, __: _log_stray(error)
    sys.unraisablehook = lambda stray: _log_stray(stray.exc_value)
    threading.excepthook = lambda stray: _log_stray(stray.exc_value)


def watch_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Log what nobody caught in an event loop, without what asyncio would tell of it."""
    loop.set_exception_handler(lambda _, told: _log_stray(told.get("exception"), told["message"]))


def _log_stray(error: BaseException | None, message: str = "nobody caught an error") -> None:
    cause = "no error is known" if error is None else cause_of(error)
    logging.getLogger("ilk.server").error("%s\n%s", message, cause)


def tells_nothing_sent(record: logging.LogRecord) -> bool:
    """Whether a record is none of gRPC's that show metadata as it came: it can be a token."""
    return not str(record.msg).startswith("Invalid encoding on")


def is_not_of_a_lost_call(record: logging.LogRecord) -> bool:
    """Whether a record tells of more than a caller that hung up before the answer."""
    return not (record.exc_info and is_of_a_lost_call(record.exc_info[1]))


def is_of_a_lost_call(error: BaseException | None) -> bool:
    """Whether an error of ``grpc.aio`` says that nobody is there any more to be told anything."""
    return type(error).__name__ == "ExecuteBatchError"


def _trace(told: _ExcInfo) -> str:
    return "" if told[1] is None else cause_of(told[1])


def _utc(moment_s: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment_s))
    return f"{whole}.{int(moment_s % 1 * 1000):03d}Z"


def cause_of(error: BaseException) -> str:
    """Return where an error was raised, and its causes.

    The texts of our own errors name files and settings. Those of others, and of what is wrong with a
    request, may quote an id or a text that a caller sent, and are left out.
    """
    lines = []
    for at, link in enumerate(_chain(error)):
        quotes = isinstance(link, InvalidRequest | NotFound) or not isinstance(link, IlkError)
        text = "" if quotes else f": {link}"
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
