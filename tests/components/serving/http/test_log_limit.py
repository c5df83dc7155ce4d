import logging

from components.serving.http.log_limit import LINES_PER_WINDOW, WINDOW_SECONDS, LogLimit


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
