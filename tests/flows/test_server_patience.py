"""Calls to Prefect's server that is away for a while, for too long, or that refuses."""

import httpx
import pytest

from components.errors import WorkersError
from flows.server_patience import ServerPatience


def fail_times(count, problem):
    """A call that fails so many times, then returns 7."""
    left = [problem] * count

    def call():
        if left:
            raise left.pop()
        return 7

    return call


def make_answer(status):
    request = httpx.Request("GET", "http://127.0.0.1/api")
    return httpx.HTTPStatusError(f"{status}", request=request, response=httpx.Response(status, request=request))


@pytest.mark.parametrize(
    "problem", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), make_answer(503), make_answer(429)]
)
def test_a_server_that_comes_back_is_asked_again(problem):
    patience, call = ServerPatience(), fail_times(2, problem)
    assert [patience.ask(call) for _ in range(3)] == [None, None, 7]


def test_a_server_that_stays_away_is_an_error():
    patience = ServerPatience(patience_s=-1.0)
    with pytest.raises(WorkersError, match="refused; start the server again"):
        patience.ask(fail_times(1, httpx.ConnectError("refused")))


def test_a_refusal_is_an_error_at_once():
    with pytest.raises(WorkersError, match="PREFECT_API_KEY"):
        ServerPatience().ask(fail_times(1, make_answer(401)))


def test_insisting_waits_for_the_server(monkeypatch):
    monkeypatch.setattr("flows.server_patience._WAIT_S", 0.0)
    assert ServerPatience().insist(fail_times(3, httpx.ConnectError("refused"))) == 7
    assert ServerPatience().insist(lambda: None) is None
