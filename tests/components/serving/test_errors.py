import json
import logging

import pytest

from components.errors import ArtifactError, BaseModelError, ConfigError, DataError, RegistryError, WorkspaceError
from components.serving.errors import (
    RefusalError,
    log_server_error,
    make_error_body,
    make_error_response,
    make_unavailable_error,
    to_refusal,
)
from components.serving.interface import BusyError

BEATS = ("a thing", "/secret/path", "do it")


@pytest.mark.parametrize(
    ("error", "status", "is_shown"),
    [
        (RefusalError(413, *BEATS), 413, True),
        (BusyError(*BEATS, retry_after=2.5), 429, True),
        (DataError(*BEATS), 400, True),
        (ConfigError(*BEATS), 400, True),
        (WorkspaceError(*BEATS), 503, False),
        (ArtifactError(*BEATS), 503, False),
        (BaseModelError(*BEATS), 503, False),
        (RegistryError(*BEATS), 503, False),
        (RuntimeError(*BEATS), 500, False),
    ],
)
def test_an_error_of_the_request_is_shown_in_full_and_one_of_the_server_only_logged(error, status, is_shown, caplog):
    refusal = to_refusal(error)
    assert refusal.status == status
    body = make_error_body(refusal)
    assert ("/secret/path" in body["error"]["message"]) is is_shown
    with caplog.at_level(logging.ERROR):
        log_server_error(error)
    assert ("/secret/path" in caplog.text) is not is_shown


def test_a_lone_surrogate_in_an_error_does_not_break_the_body():
    body = make_error_body(to_refusal(DataError("a thing", "half \ud800", "do it")))
    assert "half" in json.dumps(body, ensure_ascii=False).encode().decode()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "invalid_request_error"),
        (429, "rate_limit_error"),
        (503, "server_error"),
    ],
)
def test_the_type_is_openais(status, kind):
    assert make_error_body(RefusalError(status, "a", "b", "c"))["error"]["type"] == kind


def test_retry_after_is_in_whole_seconds_and_only_on_errors_that_a_retry_may_solve():
    assert make_error_response(to_refusal(BusyError("a", "b", "c", retry_after=2.5))).headers["retry-after"] == "3"
    assert make_error_response(make_unavailable_error("a", "b")).headers["retry-after"] == "1"
    assert "retry-after" not in make_error_response(to_refusal(DataError("a", "b", "c"))).headers
    assert make_error_response(RefusalError(401, "a", "b", "c"), {"x": "y"}).headers["www-authenticate"] == "Bearer"
