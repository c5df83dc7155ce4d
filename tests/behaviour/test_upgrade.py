"""Tables are migrated under servers of the release before, which go on without an error beside those of the new one.

The release before is, once, the present code, and the new one has two made-up revisions more; once it is an earlier
commit of this repository, and the new one is the present code.
"""

import io
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from champions import make_champions
from postgresql_schemas import make_schema
from processes import PREFIXFLEET, make_environment
from server_process import ServerProcess
from waiting import LIMIT_S, wait_until
from workspaces import PROJECT

from components.rollout.store.database import DATABASE_VARIABLE, inspect_tables
from components.rollout.store.migrations import SCHEMA

pytestmark = pytest.mark.slow
TENANTS = ("alder", "birch")
SOURCE = "thing: boat | colour: red"
EARLIER = ("6de2837", "0012")
"""A commit, and the revision of its tables."""
EXPAND, CONTRACT = (f"{int(SCHEMA.head) + number:04d}" for number in (1, 2))
EXPANDING = f"""
import sqlalchemy as sql

revision, down_revision, kind = "{EXPAND}", "{SCHEMA.head}", "expand"

def upgrade(operations):
    operations.create_table("prefixfleet_tides", sql.Column("tenant", sql.String(63), primary_key=True))
    for table in ("prefixfleet_answers", "prefixfleet_feedback", "prefixfleet_usage", "prefixfleet_keys"):
        if sql.inspect(operations.get_bind()).has_table(table):
            operations.add_column(table, sql.Column("tide", sql.Integer, nullable=False, server_default="0"))
            operations.create_index(f"ix_{{table}}_tide", table, ["tide"])
"""
CONTRACTING = f"""
\"\"\"Counted opinions are gone.\"\"\"

revision, down_revision, kind, oldest_code = "{CONTRACT}", "{EXPAND}", "contract", "{EXPAND}"

def upgrade(operations):
    operations.drop_table("prefixfleet_counted_opinions")
"""
NEXT_RELEASE = f"""
import dataclasses, sys
from pathlib import Path
import components.rollout.store.migrations as migrations
new = dict(folder=Path(sys.argv.pop(1)), head="{CONTRACT}", needs="{EXPAND}")
migrations.SCHEMA = dataclasses.replace(migrations.SCHEMA, **new)
from cli.main import app
app()
"""


class Release:
    """The commands of one release, on a database."""

    def __init__(self, root: Path, url: str, program: Sequence[str], **variables: str) -> None:
        self._root, self._program = root, program
        self.environment = {DATABASE_VARIABLE: url, **variables}

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [*self._program, "-C", str(self._root), *arguments]
        environment = {**make_environment(), **self.environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=LIMIT_S)

    def serve(self) -> ServerProcess:
        return ServerProcess(self._root, [], self.environment, None, self._program)


class Load:
    """Clients that send requests and feedback, of each tenant to each server, until it is closed."""

    def __init__(self, key: str) -> None:
        self._headers, self._stop, self._pool = (
            {"authorization": f"Bearer {key}"},
            threading.Event(),
            ThreadPoolExecutor(4),
        )
        self._sent: dict[str, int] = {}
        self._sending = []

    def add(self, server: ServerProcess) -> None:
        self._sending += [self._pool.submit(self._send, server.url, tenant) for tenant in TENANTS]

    def wait_for_more(self, server: ServerProcess, count: int = 6) -> None:
        """Wait until a server has given so many more answers."""
        before = self._sent.get(server.url, 0)

        def find() -> bool:
            for one in self._sending:
                assert not one.done(), one.result()
            return self._sent.get(server.url, 0) >= before + count

        wait_until(find, "more answers")

    def close(self) -> None:
        """Stop; raises what a request ran into."""
        self._stop.set()
        self._pool.shutdown()
        for one in self._sending:
            one.result()

    def _send(self, url: str, tenant: str) -> None:
        with httpx.Client(base_url=url, headers=self._headers, timeout=LIMIT_S) as client:
            number = 0
            while not self._stop.is_set():
                number += 1
                body = {"model": tenant, "prompt": SOURCE, "max_tokens": 4, "user": f"user-{number}"}
                answer = client.post("/v1/completions", json=body)
                assert answer.status_code == 200, answer.text
                opinion = client.post("/v1/feedback", json={"id": answer.json()["id"], "rating": number % 2})
                assert opinion.status_code in (200, 202, 429), opinion.text
                self._sent[url] = self._sent.get(url, 0) + 1


@pytest.fixture(scope="module")
def root(make_root_in: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which each tenant has a champion."""
    return make_champions(make_root_in(tmp_path_factory.mktemp("upgrade"), TENANTS))


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    sys.path.insert(0, str(PROJECT / "benchmarks"))
    from harness.postgresql_server import is_installed, run_postgresql

    if not is_installed():
        pytest.skip("no PostgreSQL on this machine (initdb, pg_ctl)")
    with run_postgresql() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/fleet.db"
    return make_schema(request.getfixturevalue("postgresql"))


def upgrade_under_load(old: Release, new: Release, url: str, revisions: tuple[str, str]) -> None:
    """Servers of both releases answer before, during and after the migration."""
    key = old.run("keys", "create", "--admin")
    assert key.returncode == 0, key.stderr
    servers = [old.serve()]
    load = Load(key.stdout.strip())
    try:
        servers[0].wait_ready()
        load.add(servers[0])
        load.wait_for_more(servers[0])
        assert inspect_tables(url).revision == revisions[0]
        done = new.run("upgrade", "--tables")
        assert done.returncode == 0, done.stderr
        assert revisions[1] in done.stdout
        load.wait_for_more(servers[0])
        servers.append(new.serve())
        servers[1].wait_ready()
        load.add(servers[1])
        for server in servers:
            load.wait_for_more(server)
    finally:
        try:
            load.close()
        finally:
            statuses = [server.stop() for server in servers]
    assert statuses == [0] * 2
    for server in servers:
        assert not [line for line in server.read_log().splitlines() if "rror" in line or "database" in line]


def test_servers_of_this_release_go_on_beside_a_later_one_until_it_contracts(
    root: Path, url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "revisions"
    folder.mkdir()
    for path in SCHEMA.folder.glob("revision_*.py"):
        (folder / path.name).write_text(path.read_text())
    (folder / f"revision_{EXPAND}.py").write_text(EXPANDING)
    (folder / f"revision_{CONTRACT}.py").write_text(CONTRACTING)
    old = Release(root, url, (PREFIXFLEET,))
    new = Release(root, url, (sys.executable, "-c", NEXT_RELEASE, str(folder)))
    upgrade_under_load(old, new, url, (SCHEMA.head, EXPAND))

    started_again = old.run("keys", "list")
    assert started_again.returncode == 0, started_again.stderr
    check = new.run("upgrade", "--check")
    assert f"{CONTRACT}: Counted opinions are gone." in check.stdout
    done = new.run("upgrade", "--tables", "--contract")
    assert f"applied: {CONTRACT}" in done.stdout
    refused = old.run("serve", "--port", "0")
    assert refused.returncode == 2
    assert f"revision {CONTRACT}, for code of revision {EXPAND} or newer" in " ".join(refused.stderr.split())
    assert "upgrade PrefixFleet: a newer release has changed these tables" in " ".join(refused.stderr.split())
    assert new.run("keys", "list").returncode == 0


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_servers_of_an_earlier_commit_go_on_beside_this_release(root: Path, url: str, tmp_path: Path) -> None:
    commit, revision = EARLIER
    archive = subprocess.run(["git", "-C", str(PROJECT), "archive", commit], capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"commit {commit} is not in the history here")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(tmp_path / "earlier", filter="data")
    path = {"PYTHONPATH": str(tmp_path / "earlier")}
    old = Release(root, url, (sys.executable, "-P", "-m", "cli.main"), **path)
    new = Release(root, url, (PREFIXFLEET,))
    upgrade_under_load(old, new, url, (revision, SCHEMA.head))
