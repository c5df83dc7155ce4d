"""JSON lines: their fields, the context of a block, and exceptions without foreign messages."""

import json
import logging
import subprocess
import sys

import pytest

from components.errors import ConfigError, DataError, WorkspaceError
from components.logs import (
    FORMAT_VARIABLE,
    JsonFormatter,
    LoggedFields,
    add_log_context,
    check_log_format,
    log_context,
    wants_json,
)


def format_line(message, *arguments, exception=None, level=logging.INFO):
    problem = exception and (type(exception), exception, exception.__traceback__)
    text = JsonFormatter().format(logging.LogRecord("a.logger", level, "", 0, message, arguments, problem))
    assert "\n" not in text
    return json.loads(text)


def test_a_line_is_one_object_with_time_level_logger_and_message():
    line = format_line("%s:\n\x1b[31m%s", "alder", "é\u2028", level=logging.WARNING)
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "WARNING", "logger": "a.logger", "message": "alder:\n\x1b[31mé\u2028"}


def test_a_message_that_is_an_object_becomes_fields_and_in_a_text_log_json(caplog):
    message = LoggedFields("request", {"tenant": "alder", "ms": 2.5, "where": {1}})
    line = format_line(message)
    assert (line["message"], line["tenant"], line["ms"], line["where"]) == ("request", "alder", 2.5, "{1}")
    with caplog.at_level("INFO"):
        logging.getLogger("a.logger").info(LoggedFields("request", {"tenant": "älder"}))
    assert caplog.messages == ['{"tenant": "älder"}']


def test_the_context_of_a_block_is_in_its_lines_and_ends_with_it():
    with log_context(run=7):
        add_log_context(tenant="alder")
        with log_context(tenant="birch"):
            assert format_line("x").items() >= {"run": 7, "tenant": "birch"}.items()
        assert format_line("x")["tenant"] == "alder"
    assert not format_line("x").keys() & {"run", "tenant"}


def test_an_exception_is_its_type_and_trace_without_a_message_that_may_quote_a_caller():
    def fail():
        try:
            raise ValueError("a user's poem")
        except ValueError as cause:
            try:
                raise DataError("a source", "a user's poem", "shorten it") from cause
            except DataError as wrapped:
                raise WorkspaceError("a disk", "a full one", "free space") from wrapped

    with pytest.raises(WorkspaceError) as caught:
        fail()
    first, *causes = format_line("failed", exception=caught.value)["exception"]
    assert (first["type"], first["message"]) == (
        "components.errors.WorkspaceError",
        "wanted a disk; got a full one; free space",
    )
    assert first["trace"][-1].endswith("in fail")
    assert [one["type"] for one in causes] == ["components.errors.DataError", "builtins.ValueError"]
    assert "poem" not in json.dumps([first, *causes])


def test_the_format_is_text_unless_the_variable_says_json(monkeypatch):
    monkeypatch.delenv(FORMAT_VARIABLE, raising=False)
    check_log_format()
    assert not wants_json()
    monkeypatch.setenv(FORMAT_VARIABLE, "json")
    check_log_format()
    assert wants_json()
    monkeypatch.setenv(FORMAT_VARIABLE, "JSON")
    with pytest.raises(ConfigError, match="PREFIXFLEET_LOG_FORMAT='JSON'"):
        check_log_format()


SCRIPT = """
import logging, warnings
from components.logs import write_json_logs
write_json_logs()
logging.getLogger("some.library").warning("from a library")
logging.getLogger("some.library").info("too much")
warnings.warn("deprecated")
raise ValueError("the end")
"""


def test_libraries_warnings_and_an_uncaught_exception_are_json_too():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)
    first, second, third = map(json.loads, done.stderr.splitlines())
    assert (done.returncode, first["message"]) == (1, "from a library")
    assert "deprecated" in second["message"]
    assert third["exception"][0]["type"] == "builtins.ValueError"
