"""Runs DVC's command line: pull, add, push, commit. Knows no tenant and no example."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.data.digests import read_dataset_version
from components.errors import WorkspaceError
from components.storage.urls import to_local_path

POINTER_FILE = "data.dvc"

_ENVIRONMENT = {"DVC_NO_ANALYTICS": "1", "DO_NOT_TRACK": "true"}
_REMEMBERING_DVC = str(Path(__file__).with_name("dvc_commit.py"))
_DVC = ("-m", "dvc")
_NO_REMOTE_MESSAGE = "no remote specified"
_OPTIONS_WITHOUT_SECRETS = frozenset(
    {
        *("url", "endpointurl", "region", "profile", "host", "port", "user", "account_name", "projectname"),
        *("use_ssl", "ssl_verify", "verify", "ca_bundle", "allow_anonymous_login", "oss_endpoint"),
        *("jobs", "checksum_jobs", "timeout", "listobjects", "version_aware", "worktree"),
    }
)
_DISK_FULL_MESSAGE = "No space left on device"


def pull(workspace: Path, *targets: str) -> None:
    """Fetch the version of data/ in data.dvc (or other targets) from the remote.

    Raises:
        WorkspaceError: there is no remote, it cannot be reached or lacks the files, this is not a DVC workspace, or
            data is a link to a missing folder, which DVC would replace by a folder.

    """
    link = workspace / "data"
    if link.is_symlink() and not link.exists():
        fix = "mount or make it, or remove the link"
        raise WorkspaceError(f"the folder that {link} links to", f"no folder {os.path.realpath(link)}", fix)
    _run_with_remote(workspace, "pull", *(targets or (POINTER_FILE,)))


def push(workspace: Path, *targets: str) -> None:
    """Send everything that the workspace tracks (or only the targets) to the remote.

    Raises:
        WorkspaceError: there is no remote, or it cannot be reached.

    """
    _run_with_remote(workspace, "push", *targets)


def add_data(workspace: Path) -> str:
    """Add data/ to the cache and write data.dvc; return the dataset version.

    Raises:
        WorkspaceError: there is no data/, this is not a DVC workspace, or the disk is full.

    """
    add(workspace, "data")
    return read_dataset_version(workspace / POINTER_FILE)


def add(workspace: Path, target: str) -> None:
    """Track a folder: copy its files to the cache and write `<target>.dvc`.

    Raises:
        WorkspaceError: DVC failed; the message has its error.

    """
    run_dvc(workspace, "add", target)


def commit(workspace: Path) -> None:
    """Record the present outputs in dvc.lock and the cache, for a run that `dvc repro` did not start.

    Raises:
        WorkspaceError: DVC failed; the message has its error.

    """
    _require_dvc(workspace)
    _run_checked(workspace, "commit", "--force", program=(_REMEMBERING_DVC,))


def has_remote(workspace: Path) -> bool:
    """Return whether a default remote is configured.

    Raises:
        WorkspaceError: this is not a DVC workspace.

    """
    return bool(_find_default_remote(workspace))


@dataclass(frozen=True, slots=True)
class DvcRemote:
    """The default remote of a workspace."""

    name: str
    options: dict[str, str]
    """Its url, absolute, and other options by name, without secrets: these come from each machine's environment."""

    def check_present(self) -> None:
        """Raise WorkspaceError if the remote is a local folder that this machine does not have."""
        folder = to_local_path(self.options["url"])
        if folder is not None and not folder.is_dir():
            wanted = f"the folder {folder} on this machine: it is the parent's DVC remote {self.name!r}"
            fix = "make a remote in object storage the default (`dvc remote add -d NAME s3://...`), and run `dvc push`"
            raise WorkspaceError(wanted, "no such folder", fix)


def read_default_remote(workspace: Path) -> DvcRemote | None:
    """Return the default remote in DVC's configuration; None if there is none.

    Raises:
        WorkspaceError: this is not a DVC workspace, or its configuration is not valid.
    """
    name = _find_default_remote(workspace)
    if not name:
        return None
    from dvc.config import Config
    from dvc.exceptions import DvcException

    try:
        options = Config(str((workspace / ".dvc").resolve()))["remote"][name]
    except (DvcException, KeyError) as problem:
        fix = "run `dvc remote list`, and correct .dvc/config"
        raise WorkspaceError(f"the DVC remote {name!r} in .dvc/config", f"{problem}", fix) from None
    named = {key: str(value) for key, value in options.items() if key in _OPTIONS_WITHOUT_SECRETS and value is not None}
    return DvcRemote(name, named)


def is_clean(workspace: Path, *, whole: bool = False) -> bool:
    """Return whether data/ is the version in data.dvc; with `whole`, also whether dvc.lock has every stage's results.

    Raises:
        WorkspaceError: this is not a DVC workspace, or there is no data.dvc.

    """
    return not json.loads(run_dvc(workspace, "status", "--json", *([] if whole else [POINTER_FILE])) or "{}")


def run_dvc(workspace: Path, *arguments: str) -> str:
    """Run one DVC command in the workspace and return its stdout.

    Raises:
        WorkspaceError: the command failed; `got` is DVC's error.

    """
    _require_dvc(workspace)
    return _run_checked(workspace, *arguments)


def make_repository(folder: Path, *, in_git_top: bool) -> None:
    """Let DVC track a folder of a git repository; `in_git_top`: it is the repository's top folder.

    Raises:
        WorkspaceError: DVC failed; the message has its error.

    """
    _run_checked(folder, "init", *(() if in_git_top else ("--subdir",)))


def _run_checked(workspace: Path, *arguments: str, program: Sequence[str] = _DVC) -> str:
    finished = _call_dvc(workspace, *arguments, program=program)
    if finished.returncode:
        wanted = f"`dvc {' '.join(arguments)}` to succeed in {workspace}"
        error = _extract_error(finished.stderr)
        full = "free space on this disk and run the command again"
        fix = full if _DISK_FULL_MESSAGE in error else "run this command by hand to see its whole output"
        raise WorkspaceError(wanted, error, fix)
    return finished.stdout


def _run_with_remote(workspace: Path, verb: str, *targets: str) -> None:
    _require_dvc(workspace)
    finished = _call_dvc(workspace, verb, *targets)
    if not finished.returncode:
        return
    error = _extract_error(finished.stderr)
    remote = _find_default_remote(workspace)
    if _NO_REMOTE_MESSAGE in error or not remote:
        fix = "run `dvc remote add -d NAME URL`" + (", or set data.push to false" if verb == "push" else "")
        raise WorkspaceError(f"a DVC remote to {verb}", f"none configured in {workspace}", fix)
    fix = f"check remote {remote!r} in `dvc remote list`, its URL and credentials"
    raise WorkspaceError(f"`dvc {verb}` with the remote {remote!r} to succeed", error, fix)


def _find_default_remote(workspace: Path) -> str:
    """Return the name of the default remote; "" if there is none, or if DVC's configuration is not valid."""
    _require_dvc(workspace)
    from dvc.config import Config
    from dvc.exceptions import DvcException

    try:
        return str(Config(str((workspace / ".dvc").resolve()))["core"].get("remote", ""))
    except DvcException:
        return ""


def _require_dvc(workspace: Path) -> None:
    if not (workspace / ".dvc").is_dir():
        fix = "run from the workspace's top folder, or run `dvc init` there"
        raise WorkspaceError("a DVC workspace", f"no .dvc folder in {workspace}", fix)


def _call_dvc(workspace: Path, *arguments: str, program: Sequence[str] = _DVC) -> "subprocess.CompletedProcess[str]":
    # -P: DVC must not import a folder of the workspace that has the name of one of its modules.
    command = [sys.executable, "-P", *program, *arguments]
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
    error = output.rpartition("ERROR:")[2].partition("Having any troubles")[0]
    return " ".join(error.split()) or "a failure without a message"
