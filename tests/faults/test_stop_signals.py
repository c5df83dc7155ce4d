"""SIGTERM and SIGHUP end a command within seconds as Ctrl-C does: all is kept, nothing runs on, the code tells why."""

import signal
import sqlite3
from contextlib import closing

import psutil
import pytest
from processes import start_command
from saved_training import wait_for_trained_steps
from waiting import wait_until

from components.data.digests import compute_file_digest

LONG = {"max_steps": 100_000, "validate_every": 5}


@pytest.fixture
def own_processes():
    """A function to a command's process and all that it has started; at the end none of them may run."""
    found = []

    def find(running):
        parent = psutil.Process(running.process.pid)
        found.extend([parent, *parent.children(recursive=True)])
        return found

    yield find
    assert psutil.wait_procs(found, timeout=20)[1] == []


def read_flow_states(root):
    with closing(sqlite3.connect(root / "var/prefect/prefect.db")) as database:
        return dict(database.execute("SELECT flow.name, state_type FROM flow_run JOIN flow ON flow.id = flow_id"))


@pytest.mark.slow
def test_sigterm_to_the_group_ends_a_retraining_and_prefect_knows_it(make_checkout, give_prefect_tables, own_processes):
    root = make_checkout(("alder",), train=LONG)
    give_prefect_tables(root / "var/prefect")
    with start_command(root, "retrain", own_prefect=True) as running:
        wait_for_trained_steps(root, running)
        assert len(own_processes(running)) > 1  # Prefect's server is one of them
        running.send_to_all(signal.SIGTERM)
        code = running.wait()
    assert code == 143, running.stderr
    assert "stopped by SIGTERM; every file is complete. Run the same command again to resume." in running.stderr
    assert "resumes alder at step" in running.stderr
    assert "Traceback" not in running.stderr
    assert "wanted:" not in running.stderr
    assert read_flow_states(root) == {"retrain": "CRASHED", "shard": "CRASHED"}


@pytest.mark.slow
def test_a_stage_on_two_processes_saves_its_training(make_root, own_processes):
    root = make_root(("alder",), train=LONG, engine={"processes": 2})
    with start_command(root, "stage", "train") as running:
        wait_for_trained_steps(root, running)
        own_processes(running)
        running.send_to_all(signal.SIGTERM)
        assert running.wait() == 143, running.stderr
    assert "stopped by SIGTERM" in running.stderr
    assert "resumes alder at step" in running.stderr
    assert "Traceback" not in running.stderr


@pytest.mark.slow
def test_a_study_stopped_by_a_closed_terminal_is_continued_by_the_same_command(make_root, own_processes):
    root = make_root(("alder",), train={"max_steps": 100_000})
    with start_command(root, "tune", "alder", "--trials", "2") as running:
        wait_until((root / "var/tune/alder").exists, "the study")
        own_processes(running)
        running.send_to_all(signal.SIGHUP)
        assert running.wait() == 129, running.stderr
    assert "stopped by SIGHUP; nothing was written, and the same command continues the study" in running.stderr


@pytest.mark.slow
def test_a_stopped_or_killed_intake_changes_no_data_and_takes_its_prefect_server_with_it(
    make_checkout, give_prefect_tables, write_tenant, own_processes
):
    root = make_checkout(("alder",))
    give_prefect_tables(root / "var/prefect")
    before = compute_file_digest(root / "data.dvc")
    write_tenant(root / "drops", "birch")

    def stop(number):
        with start_command(root, "data", "take", own_prefect=True) as running:
            wait_until((root / "data.tmp").exists, "the copy of data/ that becomes the new version")
            assert len(own_processes(running)) > 1  # Prefect's server is one of them
            running.process.send_signal(number)
            assert running.wait() == (143 if number == signal.SIGTERM else -number), running.stderr
        assert compute_file_digest(root / "data.dvc") == before
        assert (root / "drops/birch/train.jsonl").is_file()
        return running.stderr

    told = stop(signal.SIGTERM)
    assert "stopped by SIGTERM" in told
    assert "disk" not in told
    assert sorted(path.name for path in root.glob("data*")) == ["data", "data.dvc"]
    stop(signal.SIGKILL)
