"""A worker process that fails: its reason reaches the main process."""

from pathlib import Path

import pytest

from components.config import BaseConfig, EngineConfig
from components.errors import TrainingError
from components.model.base.load import Base
from components.training.distributed import open_pass_runner


@pytest.mark.slow
def test_a_worker_that_cannot_start_names_the_reason(base: Base, tmp_path: Path) -> None:
    with (
        pytest.raises(TrainingError, match=r"process 1 on cpu ended: .*no such folder"),
        open_pass_runner(base, BaseConfig(path=str(tmp_path / "none")), EngineConfig(processes=2)),
    ):
        pass
