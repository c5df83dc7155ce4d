"""What a training on workers survives: machines, networks, stores and parents that go away, and shards that kill.

Everything is real: Prefect's server and MLflow's on PostgreSQL, an S3 API, parents and workers in their own processes.
"""

import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from forked_process import shift_clock
from free_settings import has_postgresql
from waiting import wait_until
from worker_fleet import Fleet, run_fleet
from workspaces import PROJECT

pytestmark = pytest.mark.slow
HOUR_S = 3600
OPEN_STATES = ("SCHEDULED", "PENDING", "RUNNING", "CANCELLING")


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    if not has_postgresql():
        pytest.skip("no PostgreSQL on this machine (Debian: apt-get install postgresql)")
    with run_fleet() as started:
        yield started


@pytest.fixture(autouse=True)
def no_faults(fleet: Fleet) -> Iterator[None]:
    """Each test begins without faults and without workers of the last one."""
    fleet.clear_faults()
    yield
    for worker in fleet.workers.values():
        worker.kill()
    fleet.workers.clear()


def finish(process: "subprocess.Popen[str]") -> str:
    """Wait for the end of a parent; return what it wrote."""
    return process.communicate()[0]


def check_trained_once(fleet: Fleet, tenants: tuple[str, ...]) -> None:
    finished = Counter(tenant for _, tenant, _ in fleet.read_notes("finished"))
    assert finished == dict.fromkeys(tenants, 1)
    assert {tenant: fleet.count_versions(tenant) for tenant in tenants} == dict.fromkeys(tenants, 1)


def copy_code(folder: Path) -> Path:
    """Another version of the code: the same with one more comment."""
    for name in ("cli", "components", "flows"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("*.pyc.*"))
    with (folder / "cli" / "__init__.py").open("a", encoding="utf-8") as file:
        file.write("# another version\n")
    return folder


def test_a_night_goes_on_when_machines_networks_the_store_and_the_parent_go_away(fleet, make_checkout_in, tmp_path):
    tenants = ("alder", "birch", "cedar")
    root = fleet.make_workspace(make_checkout_in, tenants, max_shards=1, lost_seconds=15)
    (fleet.faults / "hold-4").touch()
    fleet.start_worker("other", code=copy_code(tmp_path / "code"))
    first = fleet.start_worker("first")
    with fleet.start_parent(root) as parent:
        fleet.wait_for_note("first", "alder", 4)
        fleet.wait_for_states(root, tenants)
        late = fleet.start_worker("late", variables=shift_clock(-HOUR_S))
        first.kill()
        (fleet.faults / "hold-4").unlink()
        (fleet.faults / "hold-6").touch()
        fleet.wait_for_note("late", "alder", 6)
        parent.kill()
    late.cut_network()
    with fleet.start_parent(root, **shift_clock(HOUR_S)) as parent:
        fleet.store.answer(503, "SlowDown", times=20)
        late.restore_network()
        (fleet.faults / "hold-6").unlink()
        told = finish(parent)
    assert parent.returncode == 0, told
    assert "3 promoted of 3 tenants" in told
    check_trained_once(fleet, tenants)
    assert min(step for worker, _, step in fleet.read_notes("validated") if worker == "late") > 0
    assert {worker for worker, _, _ in fleet.read_notes("validated")} == {"first", "late"}


def test_a_tenant_that_kills_its_workers_is_given_up_and_holds_up_nobody(fleet, make_checkout_in):
    root = fleet.make_workspace(make_checkout_in, ("maple", "oak"), max_shards=1, tries=1)
    (fleet.faults / "exit-oak").touch()
    fleet.start_worker("first")
    with fleet.start_parent(root) as parent:
        told = finish(parent)
    assert parent.returncode == 2, told
    assert "a worker that trains oak" in told
    assert "1 trained, 1 promoted" in told
    check_trained_once(fleet, ("maple",))
    assert fleet.count_versions("oak") == 0


def test_a_cancelled_shard_and_an_interrupted_parent_free_the_worker(fleet, make_checkout_in):
    root = fleet.make_workspace(make_checkout_in, ("rowan", "spruce"), max_shards=2)
    (fleet.faults / "hold-2").touch()
    fleet.start_worker("first")
    with fleet.start_parent(root) as parent:
        (run,) = wait_until(
            lambda: fleet.read_notes("validated") and fleet.list_runs("train-shard", "RUNNING"), "a shard"
        )
        (_, cancelled, _), *_ = fleet.read_notes("validated")
        (other,) = {"rowan", "spruce"} - {cancelled}
        fleet.cancel(run)
        fleet.wait_for_note("first", other, 2)
        parent.send_signal(signal.SIGTERM)
        told = finish(parent)
    assert parent.returncode == 143, told
    wait_until(lambda: not fleet.list_runs("train-shard", *OPEN_STATES), "the end of the other shard")
    assert fleet.read_notes("finished") == []


def test_a_parent_that_is_cancelled_on_prefects_page_ends_its_shards(fleet, make_checkout_in):
    root = fleet.make_workspace(make_checkout_in, ("elm",))
    (fleet.faults / "hold-2").touch()
    fleet.start_worker("first")
    with fleet.start_parent(root) as parent:
        fleet.wait_for_note("first", "elm", 2)
        fleet.cancel(fleet.list_runs("retrain", "RUNNING")[0])
        told = finish(parent)
    assert parent.returncode == 2, told
    assert "the run that sent this shard is cancelled" in told
    assert fleet.list_runs("train-shard", *OPEN_STATES) == []
    assert fleet.read_notes("finished") == []
