"""What comes back from an order: the plugin's reply, or the error that the response means."""

import httpx
import pytest

from components.errors import BaseModelError
from components.serving.errors import RefusalError
from components.serving.remote.orders import check_loaded, make_order, read_refusal, read_reply
from components.serving.remote.server_errors import BrokenReplyError, ServerDownError


def test_a_reply_is_read_from_the_response() -> None:
    assert make_order({"drop": ["a"]})["kv_transfer_params"] == {"prefixfleet": {"drop": ["a"]}}
    body = {"kv_transfer_params": {"prefixfleet": {"dropped": 1}}}
    assert read_reply("http://one", httpx.Response(200, json=body)) == {"dropped": 1}


@pytest.mark.parametrize(
    ("response", "problem"),
    [
        (httpx.Response(200, json={"choices": []}), BrokenReplyError),
        (httpx.Response(200, text="<html>"), BrokenReplyError),
        (httpx.Response(404, text="no such path"), BrokenReplyError),
        (httpx.Response(503), ServerDownError),
        (httpx.Response(400, json={"error": {"message": "unknown order", "code": 400}}), RefusalError),
    ],
)
def test_a_response_without_a_reply_is_an_error(response: httpx.Response, problem: type[Exception]) -> None:
    with pytest.raises(problem):
        read_reply("http://one", response)
    if response.status_code != httpx.codes.OK:
        assert isinstance(read_refusal(response.status_code, response.content), problem)


def test_a_failed_load_raises_the_error_of_its_kind() -> None:
    check_loaded({"loaded": True})
    with pytest.raises(BaseModelError, match="another base"):
        check_loaded({"loaded": False, "kind": "base", "error": "another base"})
