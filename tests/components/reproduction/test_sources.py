from collections.abc import Callable
from pathlib import Path

import pytest

from components.errors import DataError
from components.reproduction.sources import read_published_dataset


def test_e2e_is_read_with_all_of_its_splits(e2e: Path) -> None:
    data = read_published_dataset(str(e2e), ["e2e"])
    assert (data.kind, data.task, data.name) == ("e2e", "e2e", "e2e")
    assert (len(data.train), len(data.validation), len(data.test), data.training_pair_count) == (24, 6, 8, 24)
    assert not data.notes


def test_a_data_set_of_another_kind_is_refused_with_its_kind(e2e: Path) -> None:
    with pytest.raises(DataError) as error:
        read_published_dataset(str(e2e), ["webnlg", "dart"])
    assert error.value.wanted == "a data set of webnlg or dart"
    assert error.value.got.startswith("e2e data at")


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        read_published_dataset(str(tmp_path / "no"), ["e2e"])
    assert error.value.got == f"no file or folder {tmp_path / 'no'}"


def test_a_missing_training_split_is_held_out_of_the_validation_split(
    tmp_path: Path, write_dialogsum: Callable[..., Path]
) -> None:
    data = read_published_dataset(
        str(write_dialogsum(tmp_path / "talk", {"dev": 10, "test": 4})), ["xsum", "dialogsum"]
    )
    assert (data.kind, len(data.train), len(data.validation), len(data.test)) == ("dialogsum", 8, 2, 4)
    assert "8 are used for training and 2 for validation" in data.notes[0]
    assert not set(data.train) & set(data.validation)


def test_a_data_set_without_test_or_training_is_refused(tmp_path: Path, write_dialogsum: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="test split"):
        read_published_dataset(str(write_dialogsum(tmp_path / "one", {"train": 10})), ["dialogsum"])
    with pytest.raises(DataError, match="training split"):
        read_published_dataset(str(write_dialogsum(tmp_path / "two", {"test": 10})), ["dialogsum"])


def test_the_digest_depends_on_the_content(tmp_path: Path, write_e2e: Callable[..., Path]) -> None:
    one, same, other = (
        read_published_dataset(str(write_e2e(tmp_path / name, test=count)), ["e2e"]).digest
        for name, count in (("a", 8), ("b", 8), ("c", 7))
    )
    assert one == same != other


def test_a_low_data_run_is_trained_on_its_sample(tmp_path: Path, write_e2e: Callable[..., Path]) -> None:
    data = read_published_dataset(str(write_e2e(tmp_path / "e2e", train=1_100, validation=60)), ["e2e"])
    train, validation = data.select_training(50, 1, 500)
    assert (len(train), len(validation)) == (50, 15)
    assert not {one.source for one in train} & {one.source for one in data.select_training(50, 0, 500)[0]}
    assert data.select_training(None, None, None) == (list(data.train), list(data.validation))
    assert [one.source for one in data.select_test_inputs(2)] == [data.test[0].source, data.test[4].source]
