"""What commands write to stdout and stderr: plain text, tables and JSON, whatever the data and the terminal are.

Text for people keeps its characters, except control characters (they could move the cursor or change colours, and come
from data) and those that the stream's encoding cannot hold: both are shown as escapes. JSON and generated text are
written unchanged. Nothing reads emoji codes or markup. Knows no command.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from components.logs import log_line, wants_json
from components.stages.printable_text import make_printable
from components.stages.progress import LOGGER_NAME

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Column

_PLAIN_WIDTH = 200
_MIN_WIDTH = 40
BROKEN_PIPE_STATUS = 141
"""Exit code after SIGPIPE, as a shell reports it."""


def prepare_streams() -> None:
    """Let stdout and stderr escape what their encoding cannot hold; let stdin be UTF-8, as all data are."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")


def make_console(stream: TextIO) -> "Console":
    """Return a console on a stream; 200 columns wide if it is no terminal. It reads no markup and no emoji codes."""
    from rich.console import Console

    width = None if stream.isatty() else _PLAIN_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def print_line(text: str) -> None:
    """Print a line (or several) on stdout, not wrapped."""
    sys.stdout.write(f"{make_printable(text, sys.stdout)}\n")
    sys.stdout.flush()


def print_note(text: str) -> None:
    """Print a line (or several) on stderr, not wrapped; as JSON if the log is."""
    if wants_json():
        log_line(LOGGER_NAME, logging.INFO, text)
        return
    sys.stderr.write(f"{make_printable(text, sys.stderr)}\n")
    sys.stderr.flush()


def print_table(title: str, columns: "Sequence[str | Column]", rows: Iterable[Sequence[str]]) -> None:
    """Print a table on stdout, as wide as the terminal; long cells are wrapped, never cut."""
    from rich.table import Column, Table
    from rich.text import Text

    heads = [one if isinstance(one, Column) else Column(one, overflow="fold") for one in columns]
    table = Table(*heads, title=Text(make_printable(title, sys.stdout)), title_justify="left")
    for row in rows:
        table.add_row(*(Text(make_printable(cell, sys.stdout).replace("\n", "\\n")) for cell in row))
    console = make_console(sys.stdout)
    with console.capture() as printed:
        console.print(table, width=max(console.width, _MIN_WIDTH))
    sys.stdout.write(printed.get())
    sys.stdout.flush()


def print_columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print one line a row on stdout, never wrapped, for pipes: cells are padded, all but the last."""
    lines = [[make_printable(cell, sys.stdout).replace("\n", "\\n") for cell in row] for row in (heads, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = [cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=False)]
        sys.stdout.write("  ".join([*padded, line[-1]]).rstrip() + "\n")
    sys.stdout.flush()


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print a value as JSON; one line, unless `indent` is given.

    Escaped are only characters that the stream's encoding cannot hold, and control characters (equal in JSON).
    """
    is_unicode = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    text = json.dumps(value, ensure_ascii=not is_unicode, indent=indent)
    sys.stdout.write(re.sub(r"[\x7f-\x9f\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")
    sys.stdout.flush()


def print_text(text: str) -> None:
    """Print a line of generated text: byte for byte in UTF-8, or with escaped control characters on a terminal."""
    if sys.stdout.isatty():
        print_line(text)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "surrogatepass") + b"\n")
    sys.stdout.buffer.flush()


def discard_output() -> None:
    """Send what is left for stdout to nowhere, after its reader has closed the pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
