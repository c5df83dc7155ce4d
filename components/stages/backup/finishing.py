"""The end of a restore: MLflow's database follows its new place, later forgets are repeated, and what a person must do.

Works on a workspace that is in place. The addresses of its databases are set in the environment meanwhile, so that no
setting of the original fleet on this machine is used.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import BackupError, PrefixFleetError
from components.registry.mlflow.connection import BACKEND_VARIABLE
from components.registry.mlflow.relocation import find_own_database
from components.registry.mlflow.store_places import is_served
from components.rollout.store.database import DATABASE_VARIABLE, find_database_url
from components.rollout.store.ledger_chain import check_chain
from components.stages.backup.databases import MLFLOW, ROLLOUT
from components.stages.backup.restored_artifacts import ArtifactPlan
from components.stages.commands.forget import forget
from components.stages.forgotten import find_forgotten_since
from components.stages.progress import join_abbreviated, log_info
from components.stages.rollout.actors import Actor
from components.stages.workspace import Workspace
from components.storage.backups.store import BackupStore
from components.storage.urls import TRACKING_URI_VARIABLE, hide_password, read_tracking_uri, resolve_uri
from components.storage.workspace_identity import open_identity


@dataclass(frozen=True, slots=True)
class FinishedRestore:
    """What is in a restored workspace, and what is left to do."""

    champions: int
    """Tenants that have one."""
    ledger: str
    """The ledger's lines and last value, in one sentence."""
    forgotten: list[str]
    """Tenants that were forgotten after the backup, and now again."""
    by_hand: list[str]
    """What a person has to do, a sentence each."""


def finish_restore(
    root: Path, facts: Mapping[str, Any], urls: Mapping[str, str], plan: ArtifactPlan, store: BackupStore
) -> FinishedRestore:
    """Finish; `urls` are those of the restored databases.

    Raises:
        BackupError: a tenant that was forgotten after the backup could not be forgotten again; all else is done.
        PrefixFleetError: the restored workspace cannot be opened.
    """
    with _use_databases(urls):
        identity = open_identity(root)
        own = find_own_database(urls[MLFLOW], root)
        is_followed = own is not None and all(one["place"] for one in facts["locations"]) and not plan.urls
        if not is_followed:
            plan.rewrite(urls[MLFLOW], root, Path(facts["folder"]), identity)
        workspace = Workspace(root)
        champions = workspace.registry.find_champions()  # its first access lets an own database follow the workspace
        with closing(workspace.database):
            chain = check_chain(workspace.database)
            tenants = find_forgotten_since(store, workspace.database)
            failed = _forget_again(workspace, tenants)
    by_hand = [*_list_by_hand(root, facts, urls), *_describe_copy(bool(identity.copied_from_id), store)]
    broken = "" if chain.broken is None else f"; line {chain.broken.id} does not continue the chain: {chain.broken.why}"
    ledger = f"{chain.lines} lines, last value {chain.value or 'none'}{broken}"
    if failed:
        wanted = "the tenants that were forgotten after this backup to be forgotten again"
        got = join_abbreviated([f"{tenant}: {problem}" for tenant, problem in failed.items()], "; ")
        fix = f"everything is restored; now run `prefixfleet -C {root} forget TENANT` for each of them"
        raise BackupError(wanted, got, fix)
    return FinishedRestore(len(champions.keys() - set(tenants)), ledger, tenants, by_hand)


def _forget_again(workspace: Workspace, tenants: list[str]) -> dict[str, str]:
    """Forget tenants; return those for which that failed, with the reason."""
    failed = {}
    for tenant in tenants:
        log_info(f"{tenant}: was forgotten after this backup, and is forgotten again")
        try:
            forget(workspace, tenant, by=Actor("restore"))
        except PrefixFleetError as problem:
            failed[tenant] = str(problem)
    return failed


def _list_by_hand(root: Path, facts: Mapping[str, Any], urls: Mapping[str, str]) -> Iterator[str]:
    config = Workspace(root).params.registry
    with _use_databases({}):
        tracking = resolve_uri(read_tracking_uri(config.tracking_uri), root)
    with _use_databases({MLFLOW: urls[MLFLOW]}):
        rollout = find_database_url(config, root)
    address = hide_password(urls[MLFLOW])
    if any(is_served(one["uri"]) for one in facts["locations"]):
        yield (
            f"start an MLflow server with --backend-store-uri {address} and --artifacts-destination as named by "
            f"--artifacts, and set {TRACKING_URI_VARIABLE} to the server"
        )
    elif tracking != urls[MLFLOW]:
        yield f"set {TRACKING_URI_VARIABLE}, or registry.tracking_uri, to {address}, or to a server on that database"
    if rollout != urls[ROLLOUT]:
        yield f"set {DATABASE_VARIABLE} to {hide_password(urls[ROLLOUT])}"
    others = [name for name in facts["variables"] if name not in (TRACKING_URI_VARIABLE, DATABASE_VARIABLE)]
    if others:
        yield f"set the variables that were set on the other machine and are still right: {', '.join(others)}"
    for text in facts["outside"]:
        yield f"not in the backup, put it back: {text}"
    for remote in (facts["git"] or {}).get("remotes", ()):
        yield f"`git remote add {remote}`"
    if facts["incomplete"]:
        yield f"no files were in MLflow's store, so these cannot serve: {join_abbreviated(facts['incomplete'])}"
    yield "secrets are not in a backup: keys of object stores and DVC remotes, TLS files, webhook secrets"
    yield "start the services again: servers, workers, and `prefect --no-prompt deploy --all` for the schedules"


def _describe_copy(is_copy: bool, store: BackupStore) -> Iterator[str]:
    if is_copy:
        yield (
            "the original is still on this machine, so this is a copy with an id of its own: it shares DVC remotes "
            f"with the original, and its backups need another place than {store.url}"
        )
    yield "tenants forgotten since the newest backup and not noted beside it: run `prefixfleet forget TENANT` again"


@contextmanager
def _use_databases(urls: Mapping[str, str]) -> Iterator[None]:
    """Let these be the databases of every workspace that the block opens, whatever the environment says."""
    values = {TRACKING_URI_VARIABLE: urls.get(MLFLOW), DATABASE_VARIABLE: urls.get(ROLLOUT), BACKEND_VARIABLE: None}
    before = {name: os.environ.get(name) for name in values}
    _set_variables(values)
    try:
        yield
    finally:
        _set_variables(before)


def _set_variables(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
