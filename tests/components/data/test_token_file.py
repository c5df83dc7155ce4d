"""Stored token ids: encoded once, mapped into memory, and encoded again if anything changed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from components.data.pairs import TokenizedPairs
from components.data.token_file import TokenFile

TEXTS = [("a", "b"), ("c", "d")]


def pairs_of(*rows: tuple[int, int]) -> TokenizedPairs:
    ids = np.arange(sum(map(sum, rows)), dtype=np.int32)
    return TokenizedPairs.from_contiguous(ids, np.array(rows, dtype=np.int32).reshape(-1, 2))


class Counted:
    """An encoder that counts its calls."""

    def __init__(self, pairs: TokenizedPairs) -> None:
        self.result, self.times = pairs, 0

    def __call__(self) -> TokenizedPairs:
        self.times += 1
        return self.result


@pytest.fixture
def file(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "tokens" / "train.safetensors", "0" * 64)


def test_the_same_texts_are_encoded_once_and_then_mapped(file: TokenFile) -> None:
    encode = Counted(pairs_of((2, 3), (1, 4)))
    for _ in range(3):
        found = file.read_or_encode(TEXTS, [None, False], encode)
        assert list(found) == list(encode.result)
    assert encode.times == 1
    assert str(file.path) in Path("/proc/self/maps").read_text()
    assert list(file.path.parent.iterdir()) == [file.path]


def test_an_empty_list_of_texts_is_stored_too(file: TokenFile) -> None:
    encode = Counted(pairs_of())
    assert [len(file.read_or_encode([], [], encode)) for _ in range(2)] == [0, 0]
    assert encode.times == 1


@pytest.mark.parametrize(
    "other",
    [
        lambda file, encode: file.read_or_encode([("a", "b"), ("c", "e")], [None, False], encode),
        lambda file, encode: file.read_or_encode([("ab", ""), ("c", "d")], [None, False], encode),
        lambda file, encode: file.read_or_encode(TEXTS, [5, False], encode),
        lambda file, encode: file.read_or_encode(TEXTS, [None, True], encode),
        lambda file, encode: TokenFile(file.path, "1" * 64).read_or_encode(TEXTS, [None, False], encode),
    ],
)
def test_other_texts_settings_or_tokenizers_are_encoded_again(
    file: TokenFile, other: Callable[[TokenFile, Counted], TokenizedPairs]
) -> None:
    file.read_or_encode(TEXTS, [None, False], Counted(pairs_of((2, 3))))
    encode = Counted(pairs_of((1, 1), (2, 2)))
    assert [list(other(file, encode)) for _ in range(2)] == [list(encode.result)] * 2
    assert encode.times == 1


@pytest.mark.parametrize("part", ["head", "ids", "end", "all"])
def test_a_damaged_file_is_written_again(file: TokenFile, part: str) -> None:
    encode = Counted(pairs_of((2, 3), (1, 4)))
    file.read_or_encode(TEXTS, [], encode)
    content = bytearray(file.path.read_bytes())
    if part == "all":
        content.clear()
    elif part == "end":
        del content[-1]
    else:
        content[20 if part == "head" else -20] ^= 1
    file.path.write_bytes(content)
    assert [list(file.read_or_encode(TEXTS, [], encode)) for _ in range(2)] == [list(encode.result)] * 2
    assert encode.times == 2


@pytest.mark.parametrize("header", ['{"a":' * 950 + "1" + "}" * 950, "[" * 10**5, "9" * 5000, "[]", "{}", "null"])
def test_a_file_with_another_header_is_written_again(file: TokenFile, header: str) -> None:
    encode = Counted(pairs_of((2, 3), (1, 4)))
    file.read_or_encode(TEXTS, [], encode)
    tensors = load_file(file.path)
    file.path.write_bytes(save(tensors, {"prefixfleet": header}))
    assert list(file.read_or_encode(TEXTS, [], encode)) == list(encode.result)
    assert encode.times == 2


def test_pairs_stay_usable_after_their_file_is_deleted(file: TokenFile) -> None:
    encode = Counted(pairs_of((2, 3), (1, 4)))
    found = file.read_or_encode(TEXTS, [], encode)
    file.read_or_encode([], [], Counted(pairs_of((9, 9))))
    file.path.unlink()
    assert list(found) == list(encode.result)


def test_leftovers_of_a_killed_write_are_removed(file: TokenFile) -> None:
    file.path.parent.mkdir()
    (file.path.parent / f".{file.path.name}.1.0.tmp").write_bytes(b"half")
    file.read_or_encode(TEXTS, [], Counted(pairs_of((1, 1))))
    assert list(file.path.parent.iterdir()) == [file.path]


def test_pairs_are_encoded_each_time_if_the_file_cannot_be_written(
    file: TokenFile, caplog: pytest.LogCaptureFixture
) -> None:
    file.path.parent.write_text("no folder")
    encode = Counted(pairs_of((2, 3)))
    assert [list(file.read_or_encode(TEXTS, [], encode)) for _ in range(2)] == [list(encode.result)] * 2
    assert (encode.times, "token ids are not stored" in caplog.text) == (2, True)
