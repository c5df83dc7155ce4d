"""Logging for stages: through the logger `prefixfleet`, never by printing.

Lines are for people. Steps are logged at debug level and carry their numbers in the record's `progress` attribute, for
code that draws progress bars. Does not know how a line is shown: on a terminal, in a plain log, or in Prefect's pages.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

LOGGER_NAME = "prefixfleet"
_PARTS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class StageProgress:
    """How far one activity for one tenant has come: `done` of `total` units."""

    activity: str
    tenant: str
    done: int
    total: int
    note: str = ""


def log_info(message: str) -> None:
    """Log a line for people."""
    logging.getLogger(LOGGER_NAME).info(message)


def log_warning(message: str) -> None:
    """Log a problem that did not stop the run."""
    logging.getLogger(LOGGER_NAME).warning(message)


def join_abbreviated(parts: Sequence[str], separator: str = ", ") -> str:
    """Join at most ten parts, and add how many are left out."""
    more = [f"and {len(parts) - _PARTS_SHOWN:,} more"] if len(parts) > _PARTS_SHOWN else []
    return separator.join([*parts[:_PARTS_SHOWN], *more])


def count_nouns(number: int, singular: str, plural: str = "") -> str:
    """Return a number with its noun, such as "1 drop" or "2,000 drops"; the plural adds an s if none is given."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def report_progress(progress: StageProgress) -> None:
    """Log a step at debug level."""
    line = f"{progress.tenant}: {progress.activity} {progress.done}/{progress.total} {progress.note}".rstrip()
    logging.getLogger(LOGGER_NAME).debug(line, extra={"progress": progress})
