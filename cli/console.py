"""The output of the command line: results on stdout, progress and errors on stderr.

On a terminal progress is a bar; elsewhere it is a plain line at each quarter, so that a log stays short. Knows the
records of the logger `prefixfleet`; does not know the work that they report.
"""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from components.errors import PrefixFleetError
from components.stages.progress import LOGGER_NAME, StageProgress

_PLAIN_WIDTH = 200


def make_stdout() -> Console:
    """Return the console for results; 200 columns wide if stdout is no terminal."""
    return Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, highlight=False)


def make_stderr() -> Console:
    """Return the console for progress and errors; 200 columns wide if stderr is no terminal."""
    return Console(stderr=True, width=None if sys.stderr.isatty() else _PLAIN_WIDTH, highlight=False)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout."""
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    make_stdout().print(table)


def show_error(problem: PrefixFleetError) -> None:
    """Print the three beats of an error on stderr."""
    console = make_stderr()
    for beat, text in (("wanted", problem.wanted), ("got", problem.got), ("fix", problem.fix)):
        console.print(f"[bold]{beat + ':':<8}[/bold]{escape(text)}", soft_wrap=True)


@contextmanager
def show_progress() -> Iterator[None]:
    """Show the log lines and the progress of stages while a block runs."""
    logger = logging.getLogger(LOGGER_NAME)
    handler = _ConsoleHandler()
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False  # Prefect's handler on the root logger would print every line again
    try:
        with handler.bars:
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


class _ConsoleHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.console = make_stderr()
        self.is_terminal = self.console.is_terminal
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.bars = Bars(
            *columns, TextColumn("{task.fields[note]}"), console=self.console, disable=not self.is_terminal
        )
        self.tasks: dict[str, TaskID] = {}
        self.quarters: dict[str, int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        progress = getattr(record, "progress", None)
        if progress is None:
            style = "bold red" if record.levelno >= logging.WARNING else None
            self.console.print(escape(record.getMessage()), style=style, soft_wrap=True)
        elif self.is_terminal:
            self._draw_bar(progress)
        else:
            self._print_quarter(progress, record.getMessage())

    def _draw_bar(self, progress: StageProgress) -> None:
        name = f"{progress.tenant}: {progress.activity}"
        if name not in self.tasks:
            self.tasks[name] = self.bars.add_task(name, total=progress.total, note="")
        self.bars.update(self.tasks[name], completed=progress.done, note=progress.note)
        if progress.done >= progress.total:
            self.bars.remove_task(self.tasks.pop(name))

    def _print_quarter(self, progress: StageProgress, line: str) -> None:
        name = f"{progress.tenant}: {progress.activity}"
        quarter = 4 * progress.done // max(1, progress.total)
        if quarter > self.quarters.get(name, 0):
            self.quarters[name] = quarter
            self.console.print(f"  {escape(line)}", soft_wrap=True)
