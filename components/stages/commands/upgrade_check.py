"""Compares what a workspace has with what this release needs: settings, files, tables, artifacts. Changes nothing."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from components.errors import ArtifactError, ConfigError, RegistryError, SchemaError
from components.registry.manifest import ARTIFACT_SCHEMA, MANIFEST_FILE, read_manifest
from components.registry.mlflow.store_places import find_database
from components.registry.mlflow.tables import REVISION, read_revision
from components.rollout.store.database import find_database_url, inspect_tables
from components.stages.commands.upgrade import find_differences
from components.stages.progress import join_abbreviated
from components.stages.server_params import FILE_VARIABLE, compare_with_servers, find_server_file
from components.stages.workspace import Workspace
from components.storage.urls import hide_password

_CURRENT = f"schema {ARTIFACT_SCHEMA}"
_COPIES = ("out/train", "var/champions", "var/prefixes")
_AGREE = "let both say the same, so that answers are computed as they were judged"


@dataclass(frozen=True, slots=True)
class UpgradePart:
    """One part of a fleet, compared with this release."""

    name: str
    present: str
    wanted: str
    todo: str = ""
    """What a person must do; "": nothing."""


def check_upgrade(workspace: Workspace) -> list[UpgradePart]:
    """Return every part, in the order in which they are upgraded.

    Raises:
        ConfigError: params.yaml has a key that this release does not know.
        WorkspaceError, RegistryError: a database does not answer, or was changed by a newer release.
    """
    return [
        UpgradePart("params.yaml", "read", "settings of this release"),
        _check_files(workspace),
        _check_mlflow(workspace),
        *_check_tables(workspace),
        _check_artifacts(workspace),
        *_check_servers(workspace),
    ]


def _check_files(workspace: Workspace) -> UpgradePart:
    names = [one.name for one in find_differences(workspace)]
    present = (
        f"{join_abbreviated(names)} {'differs' if len(names) == 1 else 'differ'}" if names else "as in a new workspace"
    )
    todo = "see `prefixfleet upgrade`, and apply what you want of it" if names else ""
    return UpgradePart("files", present, "those of a new workspace", todo)


def _check_mlflow(workspace: Workspace) -> UpgradePart:
    wanted = f"revision {REVISION}"
    try:
        address = find_database(workspace.params.registry, workspace.root)
    except RegistryError:
        todo = "run `mlflow db upgrade URI` beside the server if its release is another than here"
        return UpgradePart("MLflow's tables", "behind a server", wanted, todo)
    revision = read_revision(address)
    done = revision in (None, REVISION)
    todo = "" if done else f"make a backup, then `mlflow db upgrade {hide_password(address)}`"
    return UpgradePart("MLflow's tables", _describe_revision(revision), wanted, todo)


def _check_tables(workspace: Workspace) -> Iterator[UpgradePart]:
    report = inspect_tables(find_database_url(workspace.params.registry, workspace.root))
    present = _describe_revision(report.revision)
    expanding = [one for one in report.pending if one.kind == "expand"]
    contracting = [one for one in report.pending if one.kind == "contract"]
    is_new = report.revision is None
    todo = "`prefixfleet upgrade --tables`; older releases may still run" if expanding and not is_new else ""
    yield UpgradePart("the rollout's tables", present, f"revision {report.newest}", todo)
    if contracting and not is_new:
        what = "; ".join(f"{one.id}: {one.what}" for one in contracting)
        todo = "once nothing of an older release runs: `prefixfleet upgrade --tables --contract`"
        yield UpgradePart("what older releases use", "still there", what, todo)


def _check_artifacts(workspace: Workspace) -> UpgradePart:
    schemas: Counter[str] = Counter()
    for folder in _COPIES:
        for path in sorted((workspace.root / folder).glob(f"*/{MANIFEST_FILE}")):
            try:
                read_manifest(path.parent)
                schemas[_CURRENT] += 1
            except SchemaError:
                schemas["an older or newer schema"] += 1
            except ArtifactError:
                schemas["damaged"] += 1
    present = ", ".join(f"{count}: {name}" for name, count in sorted(schemas.items())) or "none here"
    is_current = not schemas.keys() - {_CURRENT}
    todo = "" if is_current else "`prefixfleet retrain` trains these tenants again"
    return UpgradePart("artifacts", present, f"schema {ARTIFACT_SCHEMA}", todo)


def _check_servers(workspace: Workspace) -> Iterator[UpgradePart]:
    if (file := find_server_file()) is None:
        return
    try:
        found = compare_with_servers(workspace, file)
    except ConfigError as problem:
        present, todo = problem.got, f"correct the file, or {FILE_VARIABLE}, which names it"
    else:
        present, todo = join_abbreviated(found, "; ") or "as in the workspace", _AGREE if found else ""
    yield UpgradePart(f"the servers' {file}", present, "the workspace's settings", todo)


def _describe_revision(revision: str | None) -> str:
    return "no tables yet" if revision is None else f"revision {revision}"
