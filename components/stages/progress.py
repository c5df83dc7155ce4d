"""How stages tell what they are doing: through the logger `prefixfleet`, never by printing.

A line is for everyone; a step is for whoever draws progress bars and carries its numbers in the record's `progress`
attribute. Doors decide how either looks: the command line on a terminal, a plain log, Prefect's page.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

LOGGER = "prefixfleet"
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Progress:
    """One tenant's way through one piece of work: `done` of `total` units."""

    work: str
    tenant: str
    done: int
    total: int
    note: str = ""


def tell(message: str) -> None:
    """Log a line that a person wants to read."""
    logging.getLogger(LOGGER).info(message)


def warn(message: str) -> None:
    """Log something that went wrong and did not stop the run."""
    logging.getLogger(LOGGER).warning(message)


def listed(parts: Sequence[str], separator: str = ", ") -> str:
    """Parts of a sentence, joined: all of a few; of many the first ten and how many more."""
    more = [f"and {len(parts) - _NAMED:,} more"] if len(parts) > _NAMED else []
    return separator.join([*parts[:_NAMED], *more])


def advance(progress: Progress) -> None:
    """Report a step: at debug level, since there are many."""
    line = f"{progress.tenant}: {progress.work} {progress.done}/{progress.total} {progress.note}".rstrip()
    logging.getLogger(LOGGER).debug(line, extra={"progress": progress})
