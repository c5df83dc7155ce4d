from collections.abc import Callable
from pathlib import Path

import pytest

from components.reproduction.experiment_run import ExperimentOutcome
from components.reproduction.output_files import write_experiment_files


@pytest.mark.parametrize("experiment", ["table1", "inputlength"])
def test_every_file_is_written_and_none_contains_a_path(
    make_outcome: Callable[..., ExperimentOutcome], tmp_path: Path, experiment: str
) -> None:
    files = write_experiment_files(make_outcome(experiment), tmp_path / "out")
    assert files == [tmp_path / "out" / f"{experiment}.{kind}" for kind in ("md", "csv", "json", "png")]
    for file in files[:3]:
        assert "/secret" not in file.read_text()
    assert f"]({experiment}.png)" in files[0].read_text()
    assert files[3].read_bytes().startswith(b"\x89PNG")
