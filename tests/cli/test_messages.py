"""Errors and progress on stderr: plain text, and progress as a line at each quarter."""

import json
import logging

import pytest

from cli.messages import show_error, show_progress
from cli.output import print_note
from components.errors import DataError
from components.stages.progress import LOGGER_NAME, StageProgress, log_info, report_progress


def test_an_error_prints_three_beats_each_on_one_line(capsys):
    show_error(DataError("a drop", "none [yet]:100: \x1b[31m" + 300 * "x", "add one"))
    printed = capsys.readouterr()
    assert printed.out == ""
    got = "got:    none [yet]:100: \\x1b[31m" + 300 * "x"
    assert printed.err.splitlines() == ["wanted: a drop", got, "fix:    add one"]


def test_progress_is_printed_at_each_quarter_and_log_lines_at_once(capsys):
    with show_progress():
        log_info("alder: starts at :100: [red] \x1b[31m")
        for done in range(9):
            report_progress(StageProgress("training", "alder", done, 8))
    assert capsys.readouterr().err.splitlines() == [
        "alder: starts at :100: [red] \\x1b[31m",
        *(f"  alder: training {done}/8" for done in (2, 4, 6, 8)),
    ]


def test_the_logger_is_restored_after_an_error():
    logger = logging.getLogger(LOGGER_NAME)
    before = (logger.level, logger.propagate, list(logger.handlers))
    with pytest.raises(ValueError, match="stop"), show_progress():
        raise ValueError("stop")
    assert (logger.level, logger.propagate, list(logger.handlers)) == before


def test_in_a_json_log_errors_lines_and_quarters_are_objects(capsys, monkeypatch):
    monkeypatch.setenv("PREFIXFLEET_LOG_FORMAT", "json")
    show_error(DataError("a drop", "none", "add one"))
    with show_progress():
        log_info("alder: starts")
        for done in range(9):
            report_progress(StageProgress("training", "alder", done, 8))
    print_note("stopped")
    error, started, *quarters, note = map(json.loads, capsys.readouterr().err.splitlines())
    beats = {"wanted": "a drop", "got": "none", "fix": "add one"}
    assert error.items() >= {"level": "ERROR", "message": "wanted a drop; got none; add one", **beats}.items()
    assert (started["level"], started["message"], note["message"]) == ("INFO", "alder: starts", "stopped")
    assert [one["done"] for one in quarters] == [2, 4, 6, 8]
    assert quarters[0].items() >= {"subject": "alder", "activity": "training", "total": 8}.items()
