"""The rollout's database, empty, and parameters with prices."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components.config import Params
from components.rollout.store.database import open_database_url
from components.storage.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database_url(f"sqlite:///{tmp_path}/db")
    yield opened
    opened.close()


@pytest.fixture
def make_params() -> Callable[..., Params]:
    """Return parameters; a request costs 1 EUR, a GB-month 31."""

    def make(**sections: Any) -> Params:
        defaults = {"base": {"path": "base"}, "prices": {"currency": "EUR", "thousand_requests": 1000, "gb_month": 31}}
        return Params.model_validate({**defaults, **sections})

    return make
