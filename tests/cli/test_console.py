"""The output of the command line: tables and errors as plain text, progress as a line at each quarter."""

import logging

import pytest

from cli.console import print_table, show_error, show_progress
from components.errors import DataError
from components.stages.progress import LOGGER_NAME, StageProgress, log_info, report_progress


def test_a_table_prints_its_cells_without_reading_them_as_markup(capsys):
    print_table("Title", ("tenant", "text"), [("alder", "[red]a[/red]"), ("birch", "b")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "Title"
    assert any("alder" in line and "[red]a[/red]" in line for line in lines)


def test_an_error_prints_three_beats_each_on_one_line(capsys):
    show_error(DataError("a drop", "none [yet] " + 300 * "x", "add one"))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == ["wanted: a drop", "got:    none [yet] " + 300 * "x", "fix:    add one"]


def test_progress_is_printed_at_each_quarter_and_log_lines_at_once(capsys):
    with show_progress():
        log_info("alder: starts")
        for done in range(9):
            report_progress(StageProgress("training", "alder", done, 8))
    assert capsys.readouterr().err.splitlines() == [
        "alder: starts",
        *(f"  alder: training {done}/8" for done in (2, 4, 6, 8)),
    ]


def test_the_logger_is_restored_after_an_error():
    logger = logging.getLogger(LOGGER_NAME)
    before = (logger.level, logger.propagate, list(logger.handlers))
    with pytest.raises(ValueError, match="stop"), show_progress():
        raise ValueError("stop")
    assert (logger.level, logger.propagate, list(logger.handlers)) == before
