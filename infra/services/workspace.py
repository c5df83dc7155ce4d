"""The workspace of the services: a git and DVC checkout whose runs go to the workers. Made at the first start.

Its code is the checkout's. It differs from a clone in three values: MLflow's address, the DVC remote on S3, and the
section `workers` of params.yaml.
"""

import shutil
import subprocess
from pathlib import Path

from components.errors import WorkspaceError
from components.storage.atomic_files import convert_disk_errors, remove_tree
from infra.services.addresses import get_mlflow_url, get_s3_url, make_plain_environment
from infra.services.settings import PROJECT, Settings

_COPIED_FILES = (".dvcignore", ".gitignore", "dvc.yaml", "prefect.yaml")
_COPIED_FOLDERS = ("base", "overrides", ".dvc/plots")
_REMOTE = "services"
_LOCAL_TRACKING_URI = "tracking_uri: sqlite:///var/mlflow/mlflow.db"
_WORKERS = """
workers:  # where shards are trained; without this section, in the run's own process
  pools: {cpu: default, gpu: gpu}
  exchange: s3://exchange
  max_shards: 4
  target_minutes: 1.0
"""


def make_workspace(settings: Settings) -> None:
    """Make the workspace if there is none, and point its DVC remote to the present S3 port.

    Raises:
        WorkspaceError: the disk is full, or git or DVC fails.
    """
    root = settings.workspace
    if not root.exists():
        unfinished = root.with_name(f"{root.name}.unfinished")
        with convert_disk_errors(f"write {unfinished}"):
            remove_tree(unfinished)
            unfinished.mkdir(parents=True)
            _write_files(unfinished, settings)
        _run(unfinished, "git", "init", "--quiet")
        _run(unfinished, "dvc", "init", "--quiet")
        for name in _COPIED_FOLDERS:
            shutil.copytree(PROJECT / name, unfinished / name, dirs_exist_ok=True)
        _run(unfinished, "dvc", "remote", "add", "--quiet", "--default", _REMOTE, "s3://dvc")
        _set_endpoint(unfinished, settings)
        _run(unfinished, "git", "add", "--all")
        author = ("-c", "user.name=services", "-c", "user.email=services@localhost")
        _run(unfinished, "git", *author, "commit", "--quiet", "--message", "Workspace of the services")
        unfinished.rename(root)
    _set_endpoint(root, settings)


def _write_files(root: Path, settings: Settings) -> None:
    for name in _COPIED_FILES:
        shutil.copyfile(PROJECT / name, root / name)
    params = (PROJECT / "params.yaml").read_text(encoding="utf-8")
    params = params.replace(_LOCAL_TRACKING_URI, f"tracking_uri: {get_mlflow_url(settings)}")
    (root / "params.yaml").write_text(f"{params.rstrip()}\n{_WORKERS}", encoding="utf-8")


def _set_endpoint(root: Path, settings: Settings) -> None:
    url = get_s3_url(settings)
    if url not in (root / ".dvc" / "config").read_text(encoding="utf-8").split():
        _run(root, "dvc", "remote", "modify", "--quiet", _REMOTE, "endpointurl", url)


def _run(root: Path, *command: str) -> None:
    environment = make_plain_environment()
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        got = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise WorkspaceError(f"`{' '.join(command[:2])}` to succeed in {root}", got, "run it there by hand")
