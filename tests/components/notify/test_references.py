"""Secrets are read from the environment, files and blocks; what is missing is named, what is secret is not."""

import pytest

from components.errors import ConfigError
from components.notify.references import read_reference


def read(reference, root, environment=None, read_block=None):
    return read_reference(reference, "the channel ops", root, environment or {}, read_block)


def test_a_secret_comes_from_where_it_is_said_to_be(tmp_path):
    (tmp_path / "url").write_text("json://file\n")
    assert read("env:OPS", tmp_path, {"OPS": "json://variable"}) == "json://variable"
    assert read("file:url", tmp_path) == "json://file"
    assert read(f"file:{tmp_path}/url", tmp_path / "elsewhere") == "json://file"
    assert read("block:ops", tmp_path, read_block=lambda name: f"json://{name}") == "json://ops"


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("env:OPS", "the environment variable OPS, for the channel ops; got none; set OPS"),
        ("file:missing", "the file missing, for the channel ops; got no such file"),
        ("file:bytes", "got a file that cannot be read (UnicodeDecodeError)"),
        ("file:.", "got a file that cannot be read (IsADirectoryError)"),
        ("file:empty", "got none"),
        ("block:ops", "got a process that does not know Prefect"),
    ],
)
def test_what_is_missing_is_named(tmp_path, reference, words):
    (tmp_path / "bytes").write_bytes(b"\xff")
    (tmp_path / "empty").write_text(" \n")
    with pytest.raises(ConfigError) as refused:
        read(reference, tmp_path)
    assert words in str(refused.value)
