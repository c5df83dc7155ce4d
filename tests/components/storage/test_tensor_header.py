"""Headers are those of the safetensors library, and a file must be as long as its header says."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from components.storage.tensor_header import read_tensor_header

TENSORS = {"a": torch.zeros(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}


def write(path: Path, header: Any, tensors: bytes = b"") -> Path:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(content).to_bytes(8, "little") + content + tensors)
    return path


def test_entries_are_those_that_were_saved(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(save(TENSORS, {"format": "pt"}))
    header = read_tensor_header(path)
    assert {name: entry["shape"] for name, entry in header.entries.items()} == {"a": [2, 3], "b": [4]}
    assert path.stat().st_size - header.start == 24 + 8


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"\0"])
def test_a_file_that_is_longer_or_shorter_than_its_header_says_is_refused(tmp_path: Path, change: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(change(save(TENSORS)))
    with pytest.raises(ValueError, match="its header declares"):
        read_tensor_header(path)


@pytest.mark.parametrize(
    "header",
    [
        [],
        {"a": 1},
        {"a": {}},
        {"a": {"data_offsets": []}},
        {"a": {"data_offsets": [0, "x"]}},
        {"a": {"data_offsets": [0, 0]}},
        b"[" * 10**5,
        b'{"a":' * 1000 + b"1" + b"}" * 1000,
        b'{"a": {"data_offsets": [0, ' + b"9" * 5000 + b"]}}",
        b"\xff",
    ],
    ids=lambda header: str(header)[:30],
)
def test_a_header_that_is_none_is_refused(tmp_path: Path, header: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the reasons differ
        read_tensor_header(write(tmp_path / "file", header))


@given(content=st.binary(max_size=64))
def test_any_bytes_give_a_header_or_a_value_error(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any-bytes"
    path.write_bytes(content)
    try:
        read_tensor_header(path)
    except ValueError:
        return


@pytest.mark.parametrize("length", [0, 2**20, 2**34, 2**63])
def test_a_sparse_file_is_refused_before_it_is_read(tmp_path: Path, length: int) -> None:
    path = tmp_path / "file"
    with path.open("wb") as stream:
        stream.write(length.to_bytes(8, "little"))
        stream.truncate(20 * 2**30)
    with pytest.raises(ValueError):  # noqa: PT011 - the reasons differ
        read_tensor_header(path)
