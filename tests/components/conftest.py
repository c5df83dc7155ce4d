"""Tiny random bases of many architectures, a tokenizer of single letters, and a PostgreSQL server.

torch is imported when a base is made; the server is started when a test first needs it.
"""

import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tiny_models
from postgresql_schemas import make_schema
from script_forks import ScriptForks

if TYPE_CHECKING:
    from components.model.base.load import Base


@pytest.fixture(scope="session")
def build_model() -> Callable[..., Any]:
    """A function of an architecture, a seed and sizes to a random frozen model in evaluation mode."""
    return tiny_models.build_model


@pytest.fixture(scope="session")
def letters() -> Any:
    """A tokenizer of one id a letter, which puts nothing around a text."""
    return tiny_models.make_letters()


@pytest.fixture(scope="session")
def base_of(letters: Any) -> "Callable[..., Base]":
    """A function of a model (and a context) to a base with the tokenizer of letters."""
    return lambda model, context=tiny_models.CONTEXT: tiny_models.make_base(model, letters, context)


@pytest.fixture(scope="session")
def build_base(base_of: "Callable[..., Base]") -> "Callable[..., Base]":
    """`build_model`, with a head of its own in which the end is likelier than one token in 67, as a base."""

    def make(kind: str, seed: int = 0, context: int = tiny_models.CONTEXT, **sizes: Any) -> "Base":
        return base_of(tiny_models.give_own_head(tiny_models.build_model(kind, seed, **sizes), seed), context)

    return make


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a PostgreSQL server that all tests of this session share; skips where PostgreSQL is not installed."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    from harness.postgresql_server import is_installed, run_postgresql

    if not is_installed():
        pytest.skip("no PostgreSQL on this machine (initdb, pg_ctl)")
    with run_postgresql() as url:
        yield url


@pytest.fixture
def make_postgresql_url(postgresql_server: str) -> Callable[[], str]:
    """A function that makes an empty PostgreSQL schema, and returns a URL whose tables are in that schema."""

    return lambda: make_schema(postgresql_server)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def make_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """A function that returns the URL of an empty database: once of SQLite, once of PostgreSQL."""
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path}/{secrets.token_hex(4)}.db"
    make: Callable[[], str] = request.getfixturevalue("make_postgresql_url")
    return make


@pytest.fixture
def database_url(make_database_url: Callable[[], str]) -> str:
    """The URL of an empty database: once of SQLite, once of PostgreSQL."""
    return make_database_url()


@pytest.fixture
def start_forks() -> Iterator[Callable[[str], Callable[..., Callable[[], int]]]]:
    """A function that imports a script's modules once, in another process, to run its function `run` in many forks.

    Returns a function of the arguments of `run`, which starts it and returns a function that waits for its exit status.
    """
    started: list[ScriptForks] = []

    def start(script: str) -> Callable[..., Callable[[], int]]:
        started.append(ScriptForks(script))
        return started[-1].start

    yield start
    for one in started:
        one.end()
