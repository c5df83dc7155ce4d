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


def test_a_result_is_read_as_it_was_written(tmp_path: Path, make_result: Callable[..., CellResult]) -> None:
    written = make_result(cell(), bleu=51.25)
    path = write_result(tmp_path, written)
    assert read_result(tmp_path, cell()) == written
    assert path == tmp_path / "cells" / f"{cell().key}.json"


def test_another_config_has_no_result(tmp_path: Path, make_result: Callable[..., CellResult]) -> None:
    write_result(tmp_path, make_result(cell(), bleu=1.0))
    assert read_result(tmp_path, cell(seed=1)) is None


def test_a_file_with_the_result_of_another_cell_is_not_used(
    tmp_path: Path, make_result: Callable[..., CellResult]
) -> None:
    path = write_result(tmp_path, make_result(cell(), bleu=1.0))
    path.rename(make_result_path(tmp_path, cell(seed=1)))
    assert read_result(tmp_path, cell(seed=1)) is None


def test_results_stay_valid_when_a_setting_with_a_default_is_added(
    tmp_path: Path, make_result: Callable[..., CellResult]
) -> None:
    path = write_result(tmp_path, make_result(cell(), bleu=1.0))
    values = json.loads(path.read_text())
    del values["cell"]["train"]["gradient_checkpointing"], values["cell"]["sample"]
    path.write_text(json.dumps(values))
    assert read_result(tmp_path, cell()) == make_result(cell(), bleu=1.0)
    values["cell"]["train"]["learning_rate"] = 0.5
    path.write_text(json.dumps(values))
    assert read_result(tmp_path, cell()) is None, "as if the default were another one than at the time of measuring"


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    path = make_result_path(tmp_path, cell())
    path.parent.mkdir()
    path.write_text('{"cell": ')
    with pytest.raises(WorkspaceError, match="delete the file"):
        read_result(tmp_path, cell())
