"""Forms in every division into pieces give the same content; broken ones are refused."""

import asyncio

import httpx
import pytest

from components.serving.errors import RefusalError
from components.serving.http.multipart_form import receive_form

CONTENT = bytes(range(256)) * 4 + b"\r\n--boundary-like\r\n"
REQUEST = httpx.Request("POST", "http://x", files={"file": ("a.jsonl", CONTENT)}, data={"purpose": "p\u00e4"})
KIND = REQUEST.headers["content-type"]


def receive(body, kind=KIND, size=1000):
    written = []

    async def pieces():
        for start in range(0, len(body), size):
            yield body[start : start + size]

    async def write(content):
        written.append(content)

    form = asyncio.run(receive_form(kind, pieces(), write))
    return form, b"".join(written)


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_form_is_read_whatever_its_pieces(size):
    form, content = receive(REQUEST.read(), size=size)
    assert (form.file_name, form.texts, content) == ("a.jsonl", {"purpose": "p\u00e4"}, CONTENT)


@pytest.mark.parametrize(
    ("files", "data", "words"),
    [
        ([("file", ("a", b"")), ("file", ("b", b""))], {}, "a file in the field 'file'"),
        ([("file", ("a", b""))], {"purpose": ["a", "b"]}, "'purpose' twice"),
        ([("file", ("a", b""))], {"purpose": "x" * 1001}, "a text of more than 1000 bytes"),
        ([("file", ("a", b""))], {f"f{number}": "x" for number in range(17)}, "more than 16 fields"),
    ],
)
def test_too_much_is_refused(files, data, words):
    request = httpx.Request("POST", "http://x", files=files, data=data)
    with pytest.raises(RefusalError, match=words):
        receive(request.read(), request.headers["content-type"])


@pytest.mark.parametrize(
    ("body", "kind"),
    [(REQUEST.read()[:-20], KIND), (b"", KIND), (REQUEST.read(), "text/plain")],
    ids=["cut", "empty", "another type"],
)
def test_what_is_no_whole_form_is_refused(body, kind):
    with pytest.raises(RefusalError, match="a form"):
        receive(body, kind)


@pytest.mark.parametrize("content", [b"", b"\r\n", b"\r", b"--boundary", b"\r\n--", b"a\r\n\r\n--b\r\n"])
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_content_that_looks_like_a_boundary_stays_whole(content, size):
    body = b'preamble\r\n--b-\r\nContent-Disposition: form-data; name="file"; filename="\xc3\xa4.jsonl"\r\n\r\n'
    form, received = receive(body + content + b"\r\n--b---- the rest", "multipart/form-data; boundary=b-", size)
    assert (form.file_name, received) == ("\u00e4.jsonl", content)
