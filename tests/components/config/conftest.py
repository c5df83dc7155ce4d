from collections.abc import Callable
from pathlib import Path

import pytest

from components.config import load_params
from components.errors import ConfigError


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[str | bytes], ConfigError]:
    """Return a function from the content of params.yaml to the error that it causes."""

    def load(text: str | bytes) -> ConfigError:
        path = tmp_path / "params.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ConfigError) as problem:
            load_params(path)
        return problem.value

    return load
