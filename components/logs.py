"""Logs as JSON, one object a line, if PREFIXFLEET_LOG_FORMAT is `json`; and the fields that a block's lines share.

Exceptions are written without messages that may quote a caller's text, such as those of other libraries. Knows Python's
logging; does not know what is logged.
"""

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType

from components.errors import (
    ArtifactError,
    BaseModelError,
    ConfigError,
    GateError,
    RegistryError,
    TrainingError,
    WorkersError,
    WorkspaceError,
)

FORMAT_VARIABLE = "PREFIXFLEET_LOG_FORMAT"
_SHOWN_ERRORS = (
    *(ArtifactError, BaseModelError, GateError, RegistryError, TrainingError, WorkersError, WorkspaceError),
    OSError,
)
"""Errors whose messages name files, addresses and settings, never a text that a caller sent."""
_MAX_CAUSES = 10
_fields: ContextVar[Mapping[str, object]] = ContextVar("log_fields", default={})  # noqa: B039 - never changed in place


@dataclass(frozen=True, slots=True)
class LoggedFields:
    """A message that is an object: JSON alone in a text log; in a JSON log `message` and these fields."""

    message: str
    fields: Mapping[str, object]

    def __str__(self) -> str:
        return json.dumps(self.fields, ensure_ascii=False)


def check_log_format() -> None:
    """Raise ConfigError unless PREFIXFLEET_LOG_FORMAT is `text`, `json` or not set."""
    value = os.environ.get(FORMAT_VARIABLE, "text")
    if value not in ("text", "json"):
        raise ConfigError("text or json as the format of logs", f"{FORMAT_VARIABLE}={value!r}", "set one of these")


def wants_json() -> bool:
    """Return whether logs are JSON."""
    return os.environ.get(FORMAT_VARIABLE) == "json"


@contextmanager
def log_context(**fields: object) -> Iterator[None]:
    """Add fields to all lines that this thread (or asyncio task) logs during a block."""
    token = _fields.set({**_fields.get(), **fields})
    try:
        yield
    finally:
        _fields.reset(token)


def add_log_context(**fields: object) -> None:
    """Add fields from now on, to the end of the innermost `log_context` or else of the asyncio task."""
    _fields.set({**_fields.get(), **fields})


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON: time (UTC), level, logger, message, then the fields that are known."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, in ASCII."""
        known = record.msg if isinstance(record.msg, LoggedFields) else None
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": known.message if known else record.getMessage(),
            **_fields.get(),
            **(known.fields if known else {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = describe_exception(record.exc_info[1])
        return json.dumps(line, default=str)


def describe_exception(problem: BaseException) -> list[dict[str, object]]:
    """Return an exception and its causes, the last one first: type, message if it is safe, and where it was raised."""
    found: list[dict[str, object]] = []
    next_one: BaseException | None = problem
    while next_one is not None and len(found) < _MAX_CAUSES:
        frames = traceback.extract_tb(next_one.__traceback__)
        one: dict[str, object] = {"type": f"{type(next_one).__module__}.{type(next_one).__qualname__}"}
        if isinstance(next_one, _SHOWN_ERRORS):
            one["message"] = str(next_one)
        one["trace"] = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
        found.append(one)
        next_one = next_one.__cause__ or (None if next_one.__suppress_context__ else next_one.__context__)
    return found


def write_json_logs() -> None:
    """Let all loggers without a handler of their own, warnings and uncaught exceptions be JSON lines on stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught


def log_line(logger: str, level: int, message: str, fields: Mapping[str, object] | None = None) -> None:
    """Write one JSON line on stderr, whatever handlers there are: for what a command says beside its log."""
    record = logging.LogRecord(logger, level, "", 0, LoggedFields(message, fields or {}), None, None)
    sys.stderr.write(JsonFormatter().format(record) + "\n")
    sys.stderr.flush()


def _log_uncaught(kind: type[BaseException], problem: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, problem, trace)
        return
    logging.getLogger("prefixfleet").critical("uncaught exception", exc_info=(kind, problem, trace))
