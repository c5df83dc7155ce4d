"""infra/postgres/databases.sh, run on PostgreSQL by a user who is no superuser, as a managed service gives one."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from processes import find_free_port
from waiting import wait_until

from components.errors import WorkspaceError
from infra.services.postgresql import find_programs, make_cluster, make_command
from infra.services.settings import read_settings

SCRIPT = Path(__file__).resolve().parents[2] / "infra" / "postgres" / "databases.sh"
PASSWORDS = {"mlflow": 'it\'s "quoted" $1', "prefect": "second", "prefixfleet": "third"}
MASTER = "master"


def connect(port: int, name: str, password: str) -> str:
    """Log in to the database of the same name, make a table, and return the database's owner."""
    with psycopg2.connect(host="127.0.0.1", port=port, user=name, password=password, dbname=name) as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE tried (id int)")
        cursor.execute("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()")
        return str(cursor.fetchone()[0])


@pytest.fixture
def port(settings_folder: Path) -> Iterator[int]:
    try:
        programs = find_programs(read_settings(settings_folder))
    except WorkspaceError as problem:
        pytest.skip(str(problem))
    port, data = find_free_port(), settings_folder / "data"
    make_cluster(programs, data, {MASTER: "first"})
    command = make_command(programs, data, port)
    as_user = command[: command.index(str(programs / "postgres")) + 1]
    rights = f"ALTER ROLE {MASTER} CREATEROLE CREATEDB\n"
    subprocess.run([*as_user, "--single", "-D", data, "postgres"], input=rights, text=True, check=True, cwd="/")
    with subprocess.Popen(command, cwd="/", stderr=subprocess.DEVNULL) as server:
        try:
            wait_until(lambda: can_connect(port), "PostgreSQL to answer")
            yield port
        finally:
            server.terminate()


@pytest.fixture
def settings_folder() -> Iterator[Path]:
    """A folder that root's other user can enter, which pytest's own folders are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def can_connect(port: int) -> bool:
    try:
        psycopg2.connect(host="127.0.0.1", port=port, user=MASTER, password="first", dbname=MASTER).close()
    except psycopg2.OperationalError:
        return False
    return True


@pytest.mark.parametrize("names", [["mlflow", "prefect"], list(PASSWORDS)], ids=["without", "with the fleet's"])
def test_each_role_owns_its_database_and_logs_in_with_its_password(port: int, names: list[str]) -> None:
    environment = {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGPASSWORD": "first"}
    environment |= {"POSTGRES_USER": MASTER} | {f"{name.upper()}_DB_PASSWORD": PASSWORDS[name] for name in names}
    subprocess.run(["bash", SCRIPT], env=environment, check=True, capture_output=True)
    assert [connect(port, name, PASSWORDS[name]) for name in names] == names
    if "prefixfleet" not in names:
        with pytest.raises(psycopg2.OperationalError):
            connect(port, "prefixfleet", PASSWORDS["prefixfleet"])
