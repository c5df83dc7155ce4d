"""How stages tell what they are doing: through the logger `prefixfleet`, never by printing.

A line is for everyone; a step is for whoever draws progress bars and carries its numbers in the record's `progress`
attribute. Doors decide how either looks: the command line on a terminal, a plain log, Prefect's page.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

LOGGER_NAME = "prefixfleet"
_PARTS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class StageProgress:
    """One tenant's way through one piece of work: `done` of `total` units."""

    activity: str
    tenant: str
    done: int
    total: int
    note: str = ""


def log_info(message: str) -> None:
    """Log a line that a person wants to read."""
    logging.getLogger(LOGGER_NAME).info(message)


def log_warning(message: str) -> None:
    """Log something that went wrong and did not stop the run."""
    logging.getLogger(LOGGER_NAME).warning(message)


def join_abbreviated(parts: Sequence[str], separator: str = ", ") -> str:
    """Parts of a sentence, joined: all of a few; of many the first ten and how many more."""
    more = [f"and {len(parts) - _PARTS_SHOWN:,} more"] if len(parts) > _PARTS_SHOWN else []
    return separator.join([*parts[:_PARTS_SHOWN], *more])


def report_progress(progress: StageProgress) -> None:
    """Report a step: at debug level, since there are many."""
    line = f"{progress.tenant}: {progress.activity} {progress.done}/{progress.total} {progress.note}".rstrip()
    logging.getLogger(LOGGER_NAME).debug(line, extra={"progress": progress})
