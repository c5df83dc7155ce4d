import pytest

from components.serving.errors import RefusalError
from components.serving.http.header_checks import check_framing, check_is_local

FRAMES = {"content-length": "5", "transfer-encoding": "chunked"}


def make_scope(method="POST", version="1.1", **headers):
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"method": method, "http_version": version, "headers": fields}


def is_refused(check, scope, status):
    try:
        check(scope)
    except RefusalError as refusal:
        return refusal.status == status
    return False


@pytest.mark.parametrize(
    ("version", "headers", "refused"),
    [
        ("1.1", {}, False),
        ("1.1", {"content_length": "5"}, False),
        ("1.1", {"transfer_encoding": "chunked"}, False),
        ("1.1", {"content_length": "5", "transfer_encoding": "chunked"}, True),
        ("1.0", {"content_length": "5"}, False),
        ("1.0", {"transfer_encoding": "chunked"}, True),
    ],
)
def test_a_body_of_two_lengths_is_refused(version, headers, refused):
    assert is_refused(check_framing, make_scope(version=version, **headers), 400) is refused


@pytest.mark.parametrize(
    ("host", "refused"),
    [
        ("localhost", False),
        ("LOCALHOST:8000", False),
        ("localhost.:8000", False),
        ("localhost:", False),
        ("127.0.0.1", False),
        ("127.9.8.7:80", False),
        ("[::1]:8000", False),
        ("[0:0:0:0:0:0:0:1]", False),
        ("[::ffff:127.0.0.1]:1", False),
        ("", True),
        ("evil.example", True),
        ("localhost.evil.example", True),
        ("evil.localhost.example:8000", True),
        ("192.0.2.1", True),
        ("[2001:db8::1]", True),
        ("localhost@evil.example", True),
        ("localhost:8000:8000", True),
    ],
)
def test_without_keys_only_names_of_this_machine_are_hosts(host, refused):
    assert is_refused(check_is_local, make_scope("GET", host=host), 403) is refused


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({}, False),
        ({"origin": "http://localhost:8000"}, False),
        ({"origin": "http://LOCALHOST:8000", "sec_fetch_site": "same-origin"}, False),
        ({"sec_fetch_site": "none"}, False),
        ({"origin": "https://evil.example"}, True),
        ({"origin": "null"}, True),
        ({"origin": "http://localhost:3000"}, True),
        ({"sec_fetch_site": "cross-site"}, True),
        ({"sec_fetch_site": "same-site"}, True),
        ({"origin": "http://localhost:8000", "sec_fetch_site": "cross-site"}, True),
    ],
)
def test_without_keys_another_sites_page_changes_nothing(headers, refused):
    assert is_refused(check_is_local, make_scope(host="localhost:8000", **headers), 403) is refused
    assert not is_refused(check_is_local, make_scope("GET", host="localhost:8000", **headers), 403)
