"""Checks before training that workers can reach what the parent's settings name; lists all that is missing.

A worker may be on another machine, so a path of this machine is refused, unless the exchange is a folder too: then
parent and workers are on one machine. Does not know Prefect.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from components.config import WorkersConfig
from components.data.dvc import read_default_remote
from components.errors import PrefixFleetError, WorkersError
from components.stages.workspace import Workspace
from components.storage.object_store import ObjectStore
from components.storage.urls import TRACKING_URI_VARIABLE, hide_password

_LOCAL_TRACKING_SCHEMES = ("sqlite", "file")
_FOLDER_SCHEME = "file://"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that workers need and that is missing."""

    got: str
    fix: str


def find_problems(workspace: Workspace, store: ObjectStore, config: WorkersConfig) -> list[Problem]:
    """Return what keeps workers from training this workspace's tenants, apart from Prefect."""
    on_one_machine = config.exchange.startswith(_FOLDER_SCHEME)
    return [
        *_check_exchange(store),
        *_check_tracking(workspace, on_one_machine),
        *_check_remote(workspace, on_one_machine),
    ]


def make_error(problems: list[Problem]) -> WorkersError:
    """Return one error that lists all problems with their fixes."""
    got = "; ".join(dict.fromkeys(one.got for one in problems))
    fixes = "; ".join(dict.fromkeys(one.fix for one in problems))
    return WorkersError("all that workers need to train shards", got, fixes)


def _check_exchange(store: ObjectStore) -> Iterator[Problem]:
    try:
        store.check_writable()
    except WorkersError as problem:
        yield Problem(f"an exchange that cannot be used: {problem.got}", problem.fix)


def _check_tracking(workspace: Workspace, on_one_machine: bool) -> Iterator[Problem]:
    uri = workspace.registry.uri
    is_local = "://" not in uri or uri.partition(":")[0].split("+")[0] in _LOCAL_TRACKING_SCHEMES
    if is_local and not on_one_machine:
        fix = f"start an MLflow server, and set registry.tracking_uri or {TRACKING_URI_VARIABLE} to its address"
        yield Problem(f"MLflow in a file of this machine ({hide_password(uri)})", fix)


def _check_remote(workspace: Workspace, on_one_machine: bool) -> Iterator[Problem]:
    try:
        remote = read_default_remote(workspace.root)
    except PrefixFleetError as problem:
        yield Problem(problem.got, problem.fix)
        return
    if remote is None:
        yield Problem("no DVC remote, from which workers fetch data", "run `dvc remote add -d NAME URL` and `dvc push`")
        return
    url = remote.options["url"]
    if "://" not in url and Path(url).is_absolute() and not on_one_machine:
        fix = "push the data to a remote that workers reach (`dvc remote add -d NAME s3://...`, `dvc push`)"
        yield Problem(f"the DVC remote {remote.name}, which is a folder of this machine ({url})", fix)
