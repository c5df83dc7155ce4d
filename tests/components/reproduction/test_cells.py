"""A cell's result: written whole, read back by its key alone."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from components.config import TrainConfig
from components.errors import WorkspaceError
from components.reproduction.cells import (
    PROTOCOL,
    Cell,
    CellResult,
    DecodingSettings,
    make_result_path,
    read_result,
    write_result,
)


def cell(seed: int = 0) -> Cell:
    return Cell(
        protocol=PROTOCOL,
        base_digest="b",
        data_digest="d",
        train=TrainConfig(seed=seed),
        decoding=DecodingSettings(num_beams=5, max_new_tokens=9, banned=("\n",)),
        inputs=None,
        max_source_tokens=None,
        suite="e2e",
    )


def test_a_result_is_read_back_as_it_was(tmp_path: Path, result_of: Callable[..., CellResult]) -> None:
    written = result_of(cell(), bleu=51.25)
    path = write_result(tmp_path, written)
    assert read_result(tmp_path, cell()) == written
    assert path == tmp_path / "cells" / f"{cell().key}.json"


def test_another_config_has_no_result(tmp_path: Path, result_of: Callable[..., CellResult]) -> None:
    write_result(tmp_path, result_of(cell(), bleu=1.0))
    assert read_result(tmp_path, cell(seed=1)) is None


def test_a_result_of_another_cell_under_this_name_is_none_of_it(
    tmp_path: Path, result_of: Callable[..., CellResult]
) -> None:
    path = write_result(tmp_path, result_of(cell(), bleu=1.0))
    path.rename(make_result_path(tmp_path, cell(seed=1)))
    assert read_result(tmp_path, cell(seed=1)) is None


def test_a_setting_that_is_new_with_its_default_leaves_results_alone(
    tmp_path: Path, result_of: Callable[..., CellResult]
) -> None:
    path = write_result(tmp_path, result_of(cell(), bleu=1.0))
    values = json.loads(path.read_text())
    del values["cell"]["train"]["gradient_checkpointing"], values["cell"]["sample"]
    path.write_text(json.dumps(values))
    assert read_result(tmp_path, cell()) == result_of(cell(), bleu=1.0)
    values["cell"]["train"]["learning_rate"] = 0.5
    path.write_text(json.dumps(values))
    assert read_result(tmp_path, cell()) is None, "as if the default had been another then"


def test_a_broken_file_is_told(tmp_path: Path) -> None:
    path = make_result_path(tmp_path, cell())
    path.parent.mkdir()
    path.write_text('{"cell": ')
    with pytest.raises(WorkspaceError, match="delete the file"):
        read_result(tmp_path, cell())
