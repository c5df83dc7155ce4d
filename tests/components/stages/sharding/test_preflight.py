"""What keeps workers on other machines from training is found before anything is trained, all of it at once."""

from components.config import WorkersConfig
from components.data.dvc import read_default_remote
from components.stages.sharding.preflight import Problem, find_problems, make_error
from components.stages.workspace import Workspace
from components.storage.object_store import ObjectStore


class WritableStore:
    """A store in which everything works."""

    def check_writable(self):
        pass


def find(root, exchange, store=None):
    return [
        one.got for one in find_problems(Workspace(root), store or WritableStore(), WorkersConfig(exchange=exchange))
    ]


def test_on_one_machine_folders_and_files_are_good_enough(make_checkout, tmp_path):
    url = (tmp_path / "exchange").as_uri()
    assert find(make_checkout(("alder",)), url, ObjectStore(url)) == []


def test_other_machines_reach_no_folder_and_no_file_of_this_one(make_checkout, run_in):
    root = make_checkout(("alder",))
    tracking, remote = find(root, "s3://bucket/exchange")
    assert tracking.startswith("MLflow in a file of this machine (sqlite:///")
    assert remote.startswith("the DVC remote local, which is a folder of this machine (/")
    run_in(root, "dvc", "remote", "add", "-q", "-f", "-d", "team", "s3://bucket/dvc")
    assert find(root, "s3://bucket/exchange") == [tracking]


def test_a_server_of_mlflow_is_reachable(make_checkout, monkeypatch):
    root = make_checkout(("alder",))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example.com:5000")
    (remote,) = find(root, "s3://bucket/exchange")
    assert remote.startswith("the DVC remote local")


def test_an_exchange_that_cannot_be_written_and_a_missing_remote_are_told(make_root, tmp_path):
    (tmp_path / "file").write_text("")
    url = (tmp_path / "file" / "exchange").as_uri()
    found = find(make_root(("alder",)), url, ObjectStore(url, patience_s=0.1))
    assert found[0].startswith("an exchange that cannot be used: ")
    assert "no .dvc folder" in found[1]


def test_an_error_lists_all_problems_and_repeats_none():
    problem = make_error(
        [Problem("no pool", "make one"), Problem("no server", "start one"), Problem("no pool", "make one")]
    )
    assert (problem.got, problem.fix) == ("no pool; no server", "make one; start one")


def test_no_secret_of_the_remote_is_read(make_checkout):
    root = make_checkout(("alder",))
    secrets = "".join(f"    {name} = very-secret\n" for name in ("access_key_id", "secret_access_key", "session_token"))
    remote = "['remote \"team\"']\n    url = s3://bucket/dvc\n    endpointurl = http://store:9000\n"
    (root / ".dvc" / "config").write_text(f"[core]\n    remote = team\n{remote}{secrets}")
    found = read_default_remote(root)
    assert found is not None
    assert found.name == "team"
    assert found.options["url"] == "s3://bucket/dvc"
    assert found.options["endpointurl"] == "http://store:9000"
    assert "very-secret" not in str(found)
