"""`make services` as a newcomer runs it: all services on free ports in a folder of their own, started once."""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
import yaml
from forked_process import start_process
from free_settings import has_postgresql, write_settings
from processes import make_environment

from infra.services.secret_file import read_secrets
from infra.services.settings import PROJECT, read_settings
from infra.services.workers import describe_workers

pytestmark = pytest.mark.slow
Finished = subprocess.CompletedProcess[str]


def run_services(folder: Path, *words: str, **environment: str) -> Finished:
    command = [sys.executable, "-m", "infra.services", "--folder", str(folder), *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start_process(command, PROJECT, {**make_environment(), **environment}, text=True, **pipes) as process:
        stdout, stderr = process.communicate(timeout=900)
    return Finished(command, process.returncode, stdout, stderr)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's user can enter, unlike pytest's."""
    if not has_postgresql():
        pytest.skip("no PostgreSQL on this machine (Debian: apt-get install postgresql)")
    made = Path(tempfile.mkdtemp(prefix="prefixfleet-services-"))
    made.chmod(0o755)
    write_settings(made)
    yield made
    ended = run_services(made, "stop")
    shutil.rmtree(made)
    assert ended.returncode == 0, ended.stderr


@pytest.fixture(scope="module")
def started(folder: Path) -> Finished:
    done = run_services(folder, "start")
    assert done.returncode == 0, done.stderr
    return done


def read_pids(folder: Path) -> dict[str, int]:
    content = json.loads((folder / "processes.json").read_text())
    return {name: one["process"]["pid"] for name, one in content.items()}


def list_processes(folder: Path) -> list[psutil.Process]:
    """All processes of the services, with their children."""
    leaders = [psutil.Process(pid) for pid in read_pids(folder).values()]
    return [one for leader in leaders for one in (leader, *leader.children(recursive=True))]


def test_every_service_answers_and_is_in_the_table(folder, started):
    settings = read_settings(folder)
    names = ["postgresql", "s3", "prefect", "mlflow", "worker cpu-1", "worker gpu-1", "serve"]
    assert list(read_pids(folder)) == names
    rows = [line.split("│")[1].strip() for line in started.stdout.splitlines() if line.startswith("│")]
    assert rows == names
    more = describe_workers(settings.model_copy(update={"gpu_workers": 2}), read_secrets(folder))
    assert [one.name for one in more] == ["worker cpu-1", "worker gpu-1", "worker gpu-2"]
    assert "moto" in started.stdout
    assert httpx.get(f"http://127.0.0.1:{settings.mlflow_port}/health").is_success
    assert httpx.get(f"http://127.0.0.1:{settings.serve_port}/healthz").is_success
    api = f"http://127.0.0.1:{settings.prefect_port}/api"
    deployed = {one["name"] for one in httpx.post(f"{api}/deployments/filter", json={}).json()}
    wanted = {one["name"] for one in yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]}
    assert wanted <= deployed


def test_secrets_are_on_no_command_line_and_in_no_other_file(folder, started):
    secrets = read_secrets(folder)
    values = [value.encode() for value in vars(secrets).values()]
    assert (folder / "secrets.env").stat().st_mode & 0o777 == 0o600
    lines = [" ".join(process.info["cmdline"] or ()).encode() for process in psutil.process_iter(["cmdline"])]
    assert not [line for line in lines if any(value in line for value in values)]
    texts = [*(folder / "logs").iterdir(), folder / "settings.env", folder / "processes.json"]
    texts += [path for path in (folder / "workspace").rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in texts if any(value in path.read_bytes() for value in values)]


def test_the_services_listen_on_loopback_only(folder, started):
    connections = []
    for process in list_processes(folder):
        with suppress(psutil.NoSuchProcess):  # a scheduled run that has ended meanwhile
            connections += process.net_connections("inet")
    listening = [one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN]
    assert len(listening) >= 5
    assert set(listening) == {"127.0.0.1"}


def test_a_second_start_changes_nothing(folder, started):
    before = (folder / "processes.json").read_bytes()
    again = run_services(folder, "start")
    assert again.returncode == 0, again.stderr
    assert "all services run already" in again.stderr
    assert (folder / "processes.json").read_bytes() == before


def test_a_command_runs_with_the_services(folder, started):
    code = "import os; print(os.environ['MLFLOW_TRACKING_URI'])"
    done = run_services(folder, "run", sys.executable, "-c", code, MLFLOW_TRACKING_URI="http://elsewhere")
    assert done.stdout.strip() == f"http://127.0.0.1:{read_settings(folder).mlflow_port}"


def test_stop_ends_exactly_these(folder, started):
    own = list_processes(folder)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as other:
        ended = run_services(folder, "stop")
        assert ended.returncode == 0, ended.stderr
        assert "postgresql: ended" in ended.stderr
        assert not [one for one in own if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        assert other.poll() is None
        other.kill()
    assert read_pids(folder) == {}
    assert run_services(folder, "stop").stderr.startswith("no services of")


def test_a_busy_port_is_named_with_its_variable(folder, tmp_path):
    settings = write_settings(tmp_path)
    with socket.create_server(("127.0.0.1", settings.mlflow_port)):
        refused = run_services(tmp_path, "start")
    assert refused.returncode == 2
    assert f"MLFLOW_PORT={settings.mlflow_port}" in refused.stderr
    assert f"set another port in {settings.file}" in refused.stderr
    assert not (tmp_path / "processes.json").exists()


def test_a_missing_postgresql_says_what_to_install(tmp_path):
    file = read_settings(tmp_path).file
    file.write_text(file.read_text().replace("POSTGRESQL_BIN=", "POSTGRESQL_BIN=nowhere"))
    refused = run_services(tmp_path, "start")
    assert refused.returncode == 2
    assert "apt-get install postgresql" in refused.stderr
