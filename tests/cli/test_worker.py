"""`prefixfleet worker`: devices and environment of workers, what `check` tells, the code version."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import wait_until

from components.errors import WorkersError
from components.stages.sharding.code_version import read_code_version
from flows.worker_process import (
    WorkerDevice,
    choose_devices,
    find_home,
    has_run,
    make_command,
    make_environment,
    run_workers,
)


@pytest.fixture
def without_gpus(monkeypatch, tmp_path):
    """A machine without GPUs: no tool of NVIDIA's on the path."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("without_gpus")
def test_devices_are_gpus_by_number_or_the_cpu(monkeypatch, tmp_path):
    cpu = WorkerDevice(f"cpu-{os.getpid()}", "")
    assert choose_devices("none") == choose_devices("all") == [cpu]
    assert choose_devices("0, 3") == [WorkerDevice("gpu-0", "0"), WorkerDevice("gpu-3", "3")]
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: H200 (UUID: GPU-1)'\necho 'GPU 1: H200 (UUID: GPU-2)'\n")
    tool.chmod(0o755)
    assert [device.visible for device in choose_devices("all")] == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    assert [device.visible for device in choose_devices("all")] == ["5"]


@pytest.mark.parametrize("text", ["", "0,", "0,0", "gpu", "-1"])
def test_other_texts_are_refused(text):
    with pytest.raises(WorkersError, match="in --devices"):
        choose_devices(text)


def test_a_worker_sees_its_device_and_home_alone_and_polls_the_queue_of_its_code(monkeypatch, tmp_path):
    environment = make_environment(
        WorkerDevice("gpu-1", "1"), tmp_path, {"A": "b", "PREFECT_HOME": "/other", "PATH": "/bin"}
    )
    assert shutil.which("python", path=environment["PATH"]) == str(Path(sys.executable).with_name("python"))
    assert environment["PATH"].endswith(":/bin")
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert environment["PREFECT_HOME"] == str(tmp_path / "prefect")
    assert environment["A"] == "b"
    command = make_command("gpu", "code-1", "name")
    assert command[command.index("--work-queue") + 1] == "code-1"
    assert command[command.index("--limit") + 1] == "1"
    monkeypatch.setenv("PREFIXFLEET_WORKER_HOME", str(tmp_path / "named"))
    assert find_home() == tmp_path / "named"
    assert find_home(tmp_path) == tmp_path


def test_a_worker_without_a_server_says_what_to_set(monkeypatch, tmp_path):
    monkeypatch.delenv("PREFECT_API_URL")
    with pytest.raises(WorkersError, match="no PREFECT_API_URL; set PREFECT_API_URL"):
        run_workers("gpu", [WorkerDevice("cpu", "")], tmp_path)


def test_a_process_with_a_child_is_at_work():
    command = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'], stdin=sys.stdin)"
    with subprocess.Popen([sys.executable, "-c", command], stdin=subprocess.PIPE) as process:
        wait_until(lambda: has_run(process.pid), "its child")
        process.stdin.close()
        process.wait()
        assert not has_run(process.pid)


def test_version_is_what_parents_and_workers_compare(call, tmp_path):
    assert call(tmp_path, "worker", "version").stdout.strip() == read_code_version()


def test_check_tells_what_is_reachable_and_what_is_not(call, make_checkout, monkeypatch, tmp_path):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    address = "http://127.0.0.1:9/api"
    monkeypatch.setenv("PREFECT_API_URL", address)
    section = {"exchange": (tmp_path / "exchange").as_uri()}
    root = make_checkout(("alder",), workers=section)
    with temporary_settings({PREFECT_API_URL: address}):  # Prefect may have read the variable before
        result = call(root, "worker", "check")
    assert result.exit_code == 2
    lines = dict(line.split(": ", 1) for line in result.stdout.splitlines())
    assert lines["code version"] == read_code_version()
    assert lines["Prefect"].startswith("NOT USABLE: wanted a Prefect server; got http://127.0.0.1:9/api")
    assert lines["exchange"] == section["exchange"]
    assert lines["MLflow"].endswith("0 champions")
    assert lines["DVC remote"].startswith("local, ")

    (tmp_path / "empty").mkdir()
    lines = dict(line.split(": ", 1) for line in call(tmp_path / "empty", "worker", "check").stdout.splitlines())
    assert lines["exchange"] == "not checked: name it with --exchange"
    assert lines["DVC remote"] == "not checked: its URL comes with each shard"
