from collections.abc import Callable
from pathlib import Path

import pytest

from components.config import BaseConfig
from components.model.base.load import Base, load_base
from components.registry.manifest import Manifest
from components.registry.mlflow.packaging import write_model


@pytest.fixture
def base(base_folder: Path) -> Base:
    return load_base(BaseConfig(path=str(base_folder)), device="cpu")


@pytest.fixture
def model_folder(tmp_path: Path, save_for: Callable[..., Manifest], base: Base, base_folder: Path) -> Path:
    save_for(tmp_path / "artifact", base)
    folder = tmp_path / "model"
    config = {"path": str(base_folder), "revision": None, "dtype": "float32"}
    write_model(folder, tmp_path / "artifact", config, {"max_new_tokens": 12})
    return folder
