import logging

from components.errors import WorkspaceError
from components.serving.errors import log_server_error
from components.serving.http.log_limit import LINES_PER_WINDOW, MOST_MESSAGES, WINDOW_SECONDS, LogLimit
from components.serving.http.server import _make_log_config


def test_a_repeated_message_is_logged_five_times_a_minute_and_the_rest_is_counted():
    now_s = [0.0]
    limit = LogLimit(lambda: now_s[0])

    def log(message, *values):
        record = logging.LogRecord("uvicorn", logging.WARNING, "", 0, message, values, None)
        return record.getMessage() if limit.filter(record) else None

    passed = [log("no file for %s", number) for number in range(1000)]
    assert [line for line in passed if line] == [f"no file for {number}" for number in range(LINES_PER_WINDOW)]
    assert log("another message") == "another message"
    now_s[0] = WINDOW_SECONDS
    assert log("no file for %s", "x") == "no file for x (995 more in the last minutes)"
    assert log("no file for %s", "y") == "no file for y"


def test_of_many_messages_the_oldest_are_forgotten():
    limit = LogLimit(lambda: 0.0)
    messages = [f"message {number}" for number in range(MOST_MESSAGES + 1)]
    for message in messages * LINES_PER_WINDOW:
        limit.filter(logging.LogRecord("uvicorn", logging.WARNING, "", 0, message, (), None))
    assert len(limit._windows) == MOST_MESSAGES


def test_errors_of_a_service_that_is_away_are_limited_by_their_text(caplog):
    limit = LogLimit(lambda: 0.0)
    with caplog.at_level(logging.ERROR):
        for thing in ["feedback"] * 100 + ["100 % of the usage"]:
            log_server_error(WorkspaceError(f"to save {thing}", "connection refused", "start the database"))
    passed = [record.getMessage() for record in caplog.records if limit.filter(record)]
    assert [message.split(";")[0] for message in passed] == [
        *["WorkspaceError: wanted to save feedback"] * LINES_PER_WINDOW,
        "WorkspaceError: wanted to save 100 % of the usage",
    ]
    (logger,) = {record.name for record in caplog.records}
    assert _make_log_config()["loggers"][logger]["handlers"] == ["limited"]
