"""infra/slurm/worker.sbatch on a real Slurm of one node. Skipped where Slurm is not installed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from processes import PREFIXFLEET, run_in, start_command
from slurm import Slurm, find_reason_to_skip, run_slurm
from waiting import wait_until

SCRIPT = Path(__file__).resolve().parents[2] / "infra" / "slurm" / "worker.sbatch"
API = "http://prefect.example.com/api"
SMALL = ("--cpus-per-task=1", "--mem=0")
"""Options that win over the script's, for a node that is smaller than what it asks for."""
REASON = find_reason_to_skip()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with run_slurm(tmp_path_factory.mktemp("slurm") / "cluster") as started:
        yield started


@pytest.fixture
def submit(slurm: Slurm, tmp_path: Path) -> Callable[..., tuple[str, Path]]:
    """A function that submits the script with the given options and variables; returns the job and its log."""

    def run(*options: str, api: str = API, **environment: str) -> tuple[str, Path]:
        settings = tmp_path / "worker.env"
        settings.write_text(f"PREFECT_API_URL={api}\n", encoding="utf-8")
        home = {"PREFIXFLEET_WORKER_HOME": str(tmp_path / "home")}
        variables = {"PREFIXFLEET_WORKER_ENV": str(settings), **home, **environment}
        log = tmp_path / "job.log"
        job = slurm.run("sbatch", "--parsable", *SMALL, f"--output={log}", *options, str(SCRIPT), **variables)
        return job, log

    return run


def write_worker(path: Path, text: str) -> str:
    """Write a program that stands for `prefixfleet`: it shows what it was given."""
    shown = 'echo "$@"; echo "api $PREFECT_API_URL"; echo "threads $OMP_NUM_THREADS"'
    path.write_text(f"#!/bin/bash\n{shown}\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def test_the_worker_gets_slurms_gpus_and_the_settings_and_the_job_ends_with_it(slurm, submit, tmp_path):
    job, log = submit("--gpus=2", PREFIXFLEET=write_worker(tmp_path / "worker", "true"), IDLE_MINUTES="3")
    wait_until(lambda: slurm.read_state(job) == "COMPLETED", "the job's end")
    assert log.read_text(encoding="utf-8").splitlines() == [
        f"worker start --pool gpu --devices 0,1 --home {tmp_path}/home --idle-minutes 3",
        f"api {API}",
        "threads 1",
    ]


def test_slurms_signal_reaches_the_worker_itself(slurm, submit, tmp_path):
    waits = "trap 'echo saved; exit 0' TERM; echo ready; while :; do sleep 0.1; done"
    job, log = submit(PREFIXFLEET=write_worker(tmp_path / "worker", waits))
    wait_until(lambda: log.exists() and "ready" in log.read_text(encoding="utf-8"), "the worker's start")
    slurm.run("scancel", "--batch", "--signal=TERM", job)
    wait_until(lambda: slurm.read_state(job) == "COMPLETED", "the job's end")
    assert log.read_text(encoding="utf-8").splitlines()[-1] == "saved"


def test_the_signal_is_sent_before_the_time_limit(slurm, submit, tmp_path):
    job, _ = submit("--hold", PREFIXFLEET=write_worker(tmp_path / "worker", "true"))
    shown = slurm.run("scontrol", "show", "job", job)
    slurm.run("scancel", job)
    assert "TimeLimit=08:00:00" in shown
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    assert "#SBATCH --signal=B:TERM@120" in lines


def test_a_job_without_settings_says_what_is_missing(slurm, submit, tmp_path):
    job, log = submit(PREFIXFLEET_WORKER_ENV=str(tmp_path / "none.env"))
    wait_until(lambda: slurm.read_state(job) == "FAILED", "the job's end")
    assert f"got: no file {tmp_path}/none.env" in log.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_worker_started_by_sbatch_trains_a_shard(slurm, submit, make_checkout, prefect_api, tmp_path):
    workers = {"exchange": f"file://{tmp_path}/exchange", "pools": {"gpu": "slurm"}}
    root = make_checkout(("alder",), workers=workers)
    run_in(root, "dvc", "push", "-q")
    httpx.post(f"{prefect_api}/work_pools/", json={"name": "slurm", "type": "process"}).raise_for_status()
    job, log = submit(PREFIXFLEET=PREFIXFLEET, WORK_POOL="slurm", IDLE_MINUTES="600", api=prefect_api)
    with start_command(root, "retrain") as parent:
        assert parent.wait() in (0, 3), parent.stderr + log.read_text(encoding="utf-8")
    assert slurm.read_state(job) == "RUNNING"
    slurm.run("scancel", "--batch", "--signal=TERM", job)
    wait_until(lambda: slurm.read_state(job) != "RUNNING", "the job's end")
    (ended,) = (tmp_path / "exchange" / "shards").glob("*/outcomes.json")
    assert '"alder"' in ended.read_text(encoding="utf-8")
    assert (root / "out" / "train" / "alder" / "manifest.json").is_file()
    assert (root / "out" / "evaluate" / "alder" / "report.json").is_file()
