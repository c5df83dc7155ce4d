"""URLs and keys that could name something else than an object of ours are refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.errors import WorkersError
from components.storage.object_names import MAX_KEY_LENGTH, check_key, is_key, parse_store_url


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("s3://bucket", "bucket"),
        ("s3://bucket/", "bucket"),
        ("s3://my.bucket-1/a/b_c=2/", "my.bucket-1/a/b_c=2"),
        ("gs://bucket/a", "bucket/a"),
        ("file:///var/exchange/", "/var/exchange"),
        ("file://localhost/var/my%20exchange", "/var/my exchange"),
    ],
)
def test_the_folder_of_a_url(url: str, folder: str) -> None:
    address = parse_store_url(url)
    assert (address.folder, address.url, address.scheme) == (folder, url.rstrip("/"), url.split(":")[0])


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "bucket",
            "/var/exchange",
            "file:exchange",
            "file://exchange/a",
            "file:///",
            "file:///a/../b",
            "file:///a?b",
        ),
        *("s3://", "s3:///a", "s3://bucket/a//b", "s3://bucket/../a", "s3://bucket/a?versionId=3", "s3://bucket/a b"),
        *("s3://BUCKET/a", "s3://bucket/*", "http://host/bucket", "memory://a", "s3://bucket/a#b", "s3://bucket/a?"),
    ],
)
def test_another_url_is_refused_with_the_forms_that_are_allowed(url: str) -> None:
    with pytest.raises(WorkersError, match="s3://bucket/folder"):
        parse_store_url(url)


def test_credentials_in_a_url_are_refused_and_not_shown() -> None:
    with pytest.raises(WorkersError, match="AWS_ACCESS_KEY_ID") as error:
        parse_store_url("s3://key:geheim@bucket/a")
    assert "geheim" not in str(error.value)


@pytest.mark.parametrize("key", ["a", "tenants/alder/9f", "_a/B-1/x.json", "a" * 200, "probe-1"])
def test_keys(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/a",
        "a/",
        "a//b",
        "..",
        "a/../b",
        "a/.",
        ".a",
        "a b",
        "a\\b",
        "a\n",
        "é",
        "a?b",
        "a*",
        "a" * 201,
        "-a",
        "a:b",
    ],
)
def test_odd_keys_are_refused(key: str) -> None:
    assert not is_key(key)
    with pytest.raises(WorkersError, match="wanted a key of an object"):
        check_key(key)


def test_a_key_that_is_too_long_is_refused() -> None:
    part = "a" * 99 + "/"
    assert is_key(part * 7 + "a")
    assert not is_key(part * (MAX_KEY_LENGTH // len(part)) + "aa")


@given(st.text(max_size=20) | st.text("ab./_-~\\\0\n", max_size=12))
def test_no_key_leaves_a_folder(key: str) -> None:
    if is_key(key):
        root = Path("/a/b")
        path = Path(root, key)
        assert path.is_relative_to(root)
        assert path.parts[3:] == tuple(key.split("/"))
