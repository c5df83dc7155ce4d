"""Prefect's log lines on a terminal, without emoji codes and control characters of data.

Prefect's own handler prints `train.jsonl:100:` as an emoji, and passes escape sequences on.
"""

import logging
import sys

from prefect.logging.handlers import PrefectConsoleHandler
from rich.text import Text

from components.stages.printable_text import make_printable


class PlainConsoleHandler(PrefectConsoleHandler):
    """Prefect's handler of the console; the text of a line is printed as it is."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        try:
            line = Text(make_printable(self.format(record), sys.stderr))
            self.console.print(self.console.highlighter(line), soft_wrap=True)
        except (OSError, ValueError):
            self.handleError(record)
