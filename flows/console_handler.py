"""Prefect's log lines on stderr: without emoji codes and control characters of data, or as JSON.

Prefect's own handler prints `train.jsonl:100:` as an emoji, and passes escape sequences on.
"""

import logging
import sys

from prefect.logging.handlers import PrefectConsoleHandler
from rich.text import Text

from components.logs import JsonFormatter, log_context, wants_json
from components.stages.printable_text import make_printable


class PlainConsoleHandler(PrefectConsoleHandler):
    """Prefect's handler of the console; the text of a line is printed as it is."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record; in JSON with the name of the run of the flow or task, if it has one."""
        try:
            if wants_json():
                runs = {name: getattr(record, f"{name}_name", None) for name in ("flow_run", "task_run")}
                with log_context(**{name: run for name, run in runs.items() if run}):
                    sys.stderr.write(JsonFormatter().format(record) + "\n")
                return
            line = Text(make_printable(self.format(record), sys.stderr))
            self.console.print(self.console.highlighter(line), soft_wrap=True)
        except (OSError, ValueError):
            self.handleError(record)
