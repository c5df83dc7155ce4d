"""Errors, and the progress of stages, on stderr.

On a terminal progress is a bar; elsewhere it is a plain line at each quarter, so that a log stays short. In a JSON log
all of it is objects. Knows the records of the logger `prefixfleet`; does not know the work that they report.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TextIO

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.text import Text

from cli.output import make_console
from components.errors import PrefixFleetError
from components.logs import JsonFormatter, log_line, wants_json
from components.stages.printable_text import make_printable
from components.stages.progress import LOGGER_NAME, StageProgress


def show_error(problem: PrefixFleetError) -> None:
    """Print the three beats of an error on stderr."""
    beats = {"wanted": problem.wanted, "got": problem.got, "fix": problem.fix}
    if wants_json():
        log_line(LOGGER_NAME, logging.ERROR, str(problem), beats)
        return
    console = make_console(sys.stderr)
    for beat, text in beats.items():
        console.print(Text.assemble((f"{beat + ':':<8}", "bold"), make_printable(text, sys.stderr)), soft_wrap=True)


@contextmanager
def show_progress() -> Iterator[None]:
    """Show the log lines and the progress of stages while a block runs."""
    logger = logging.getLogger(LOGGER_NAME)
    handler = _JsonHandler() if wants_json() else _ConsoleHandler()
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False  # Prefect's handler on the root logger would print every line again
    try:
        with handler.bars if isinstance(handler, _ConsoleHandler) else nullcontext():
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


class _Quarters:
    """Which quarter of each activity was shown last."""

    def __init__(self) -> None:
        self._shown: dict[str, int] = {}

    def reaches_next(self, progress: StageProgress) -> bool:
        name = f"{progress.tenant}: {progress.activity}"
        quarter = 4 * progress.done // max(1, progress.total)
        is_next = quarter > self._shown.get(name, 0)
        if is_next:
            self._shown[name] = quarter
        return is_next


class _JsonHandler(logging.StreamHandler[TextIO]):
    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(JsonFormatter())
        self._quarters = _Quarters()

    def emit(self, record: logging.LogRecord) -> None:
        progress = getattr(record, "progress", None)
        if progress is None:
            super().emit(record)
        elif self._quarters.reaches_next(progress):
            fields = {"subject": progress.tenant, "activity": progress.activity}  # a tenant, or "3 tenants"
            fields |= {"done": progress.done, "total": progress.total}
            log_line(record.name, logging.INFO, record.getMessage(), fields)


class _ConsoleHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.console = make_console(sys.stderr)
        self.is_terminal = self.console.is_terminal
        self.bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self.console,
            disable=not self.is_terminal,
        )
        self.tasks: dict[str, TaskID] = {}
        self._quarters = _Quarters()

    def emit(self, record: logging.LogRecord) -> None:
        progress = getattr(record, "progress", None)
        if progress is None:
            style = "bold red" if record.levelno >= logging.WARNING else ""
            self._print(record.getMessage(), style)
        elif self.is_terminal:
            self._draw_bar(progress)
        elif self._quarters.reaches_next(progress):
            self._print(f"  {record.getMessage()}")

    def _print(self, line: str, style: str = "") -> None:
        self.console.print(Text(make_printable(line, sys.stderr), style=style), soft_wrap=True)

    def _draw_bar(self, progress: StageProgress) -> None:
        name = f"{progress.tenant}: {progress.activity}"
        if name not in self.tasks:
            self.tasks[name] = self.bars.add_task(make_printable(name, sys.stderr), total=progress.total, note="")
        self.bars.update(self.tasks[name], completed=progress.done, note=make_printable(progress.note, sys.stderr))
        if progress.done >= progress.total:
            self.bars.remove_task(self.tasks.pop(name))
