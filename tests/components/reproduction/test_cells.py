"""A cell's result: written whole, read back by its key alone."""

from collections.abc import Callable
from pathlib import Path

import pytest

from components.config import TrainConfig
from components.errors import WorkspaceError
from components.reproduction.cells import Cell, DecodingSettings, Result, read_result, result_path, write_result


def cell(seed: int = 0) -> Cell:
    return Cell(
        base_digest="b",
        data_digest="d",
        train=TrainConfig(seed=seed),
        decoding=DecodingSettings(num_beams=5, max_new_tokens=9, banned=("\n",)),
        inputs=None,
        max_source_tokens=None,
        suite="e2e",
    )


def test_a_result_is_read_back_as_it_was(tmp_path: Path, result_of: Callable[..., Result]) -> None:
    written = result_of(cell(), bleu=51.25)
    path = write_result(tmp_path, written)
    assert read_result(tmp_path, cell()) == written
    assert path == tmp_path / "cells" / f"{cell().key}.json"


def test_another_config_has_no_result(tmp_path: Path, result_of: Callable[..., Result]) -> None:
    write_result(tmp_path, result_of(cell(), bleu=1.0))
    assert read_result(tmp_path, cell(seed=1)) is None


def test_a_file_under_anothers_key_is_refused(tmp_path: Path, result_of: Callable[..., Result]) -> None:
    path = write_result(tmp_path, result_of(cell(), bleu=1.0))
    path.rename(result_path(tmp_path, cell(seed=1)))
    with pytest.raises(WorkspaceError) as told:
        read_result(tmp_path, cell(seed=1))
    assert "another cell" in told.value.got


def test_a_broken_file_is_told(tmp_path: Path) -> None:
    path = result_path(tmp_path, cell())
    path.parent.mkdir()
    path.write_text('{"cell": ')
    with pytest.raises(WorkspaceError, match="delete the file"):
        read_result(tmp_path, cell())
