"""Dataset versions by DVC's command line: pull, add, push, commit. Knows no tenant and no example."""

import json
import os
import subprocess
import sys
from pathlib import Path

from components.data.digests import read_dataset_version
from components.errors import WorkspaceError

POINTER_FILE = "data.dvc"

_ENVIRONMENT = {"DVC_NO_ANALYTICS": "1", "DO_NOT_TRACK": "true"}
_NO_REMOTE_MESSAGE = "no remote specified"
_DISK_FULL_MESSAGE = "No space left on device"


def pull(workspace: Path, *targets: str) -> None:
    """Fetch data/ as data.dvc names it (or other targets) from the remote.

    Raises:
        WorkspaceError: no remote, a remote that cannot be reached or lacks the files, or no DVC workspace.

    """
    _run_with_remote(workspace, "pull", *(targets or (POINTER_FILE,)))


def push(workspace: Path, *targets: str) -> None:
    """Send what the workspace tracks (or only the targets) to the remote.

    Raises:
        WorkspaceError: no remote, or one that cannot be reached.

    """
    _run_with_remote(workspace, "push", *targets)


def add_data(workspace: Path) -> str:
    """Make data/ as it lies a version in the cache and in data.dvc; return the dataset version.

    Raises:
        WorkspaceError: no data/, no DVC workspace, or a full disk.

    """
    add(workspace, "data")
    return read_dataset_version(workspace / POINTER_FILE)


def add(workspace: Path, target: str) -> None:
    """Track a folder: its files go to the cache, `<target>.dvc` is written.

    Raises:
        WorkspaceError: what DVC says.

    """
    run_dvc(workspace, "add", target)


def commit(workspace: Path) -> None:
    """Record the outputs as they lie in dvc.lock and the cache, for a run that dvc repro did not start.

    Raises:
        WorkspaceError: what DVC says.

    """
    run_dvc(workspace, "commit", "--force")


def has_remote(workspace: Path) -> bool:
    """Say whether a default remote is configured.

    Raises:
        WorkspaceError: no DVC workspace.

    """
    return bool(_find_default_remote(workspace))


def is_clean(workspace: Path) -> bool:
    """Say whether data/ is what data.dvc names.

    Raises:
        WorkspaceError: no DVC workspace, or no data.dvc.

    """
    return not json.loads(run_dvc(workspace, "status", "--json", POINTER_FILE) or "{}")


def run_dvc(workspace: Path, *arguments: str) -> str:
    """Run one DVC command in the workspace and return what it prints.

    Raises:
        WorkspaceError: it fails; `got` is DVC's own words.

    """
    finished = _call_dvc(workspace, *arguments)
    if finished.returncode:
        command = f"`dvc {' '.join(arguments)}` to succeed in {workspace}"
        words = _extract_error(finished.stderr)
        fix = "free space on this disk and run again" if _DISK_FULL_MESSAGE in words else "run it by hand to see more"
        raise WorkspaceError(command, words, fix)
    return finished.stdout


def _run_with_remote(workspace: Path, verb: str, *targets: str) -> None:
    finished = _call_dvc(workspace, verb, *targets)
    if not finished.returncode:
        return
    words = _extract_error(finished.stderr)
    remote = _find_default_remote(workspace)
    if _NO_REMOTE_MESSAGE in words or not remote:
        fix = "`dvc remote add -d NAME URL`" + (", or set data.push to false" if verb == "push" else "")
        raise WorkspaceError(f"a DVC remote to {verb}", f"none configured in {workspace}", fix)
    fix = f"check remote {remote!r} in `dvc remote list`, its URL and credentials"
    raise WorkspaceError(f"to {verb} with the DVC remote {remote!r}", words, fix)


def _find_default_remote(workspace: Path) -> str:
    return _call_dvc(workspace, "config", "core.remote").stdout.strip()


def _call_dvc(workspace: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    if not (workspace / ".dvc").is_dir():
        fix = "run from the workspace's top folder, or `dvc init` there"
        raise WorkspaceError("a DVC workspace", f"none at {workspace}", fix)
    # -P: the workspace's own folders must not stand in for modules of DVC.
    command = [sys.executable, "-P", "-m", "dvc", *arguments]
    return subprocess.run(
        command,
        cwd=workspace,
        env={**os.environ, **_ENVIRONMENT},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def _extract_error(output: str) -> str:
    said = output.rpartition("ERROR:")[2].partition("Having any troubles")[0]
    return " ".join(said.split()) or "no word from DVC"
