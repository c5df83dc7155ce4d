"""The dataset version of a run, and the records that DVC keeps of a run.

Fetches missing data, takes drops into a new version, records results. Knows DVC only through components.data.
"""

from collections.abc import Sequence

from components.config.overrides import OVERRIDES_FOLDER
from components.data.drops import list_pending
from components.data.dvc import commit, is_clean, pull
from components.data.dvc_pruning import mark_remote
from components.data.intake import IntakeResult, take_drops
from components.data.swap import recover_swap
from components.errors import DataError, WorkspaceError
from components.stages import evaluate, train
from components.stages.outcome import TenantOutcome
from components.stages.progress import join_abbreviated, log_info, log_warning
from components.stages.workspace import Workspace
from components.storage.atomic_files import convert_disk_errors
from components.storage.workspace_identity import open_identity

_TENANTS_TOLD = 10


def ensure_data(workspace: Workspace) -> str:
    """Check that data/ has the version in data.dvc, fetch it if it is missing, and return that dataset version.

    Raises:
        DataError: there is no data.dvc.
        WorkspaceError: DVC cannot fetch data/, or data/ was changed without `dvc add`.

    """
    recover_swap(workspace.root)
    version = workspace.dataset_version
    if not workspace.data.is_dir():
        log_info(f"data/ is missing: fetching dataset version {version[:12]} from the DVC remote")
        pull(workspace.root)
    elif not is_clean(workspace.root):
        fix = "run `dvc add data` to make a new version of it, or `dvc checkout data.dvc` to restore the old one"
        raise WorkspaceError(f"data/ of version {version[:12]}, as in data.dvc", "other content in data/", fix)
    return version


def ingest_drops(workspace: Workspace, tenants: Sequence[str] | None = None) -> IntakeResult:
    """Take every (or each named) tenant's drop into a new dataset version.

    Raises:
        DataError: a named tenant has no drop.
        WorkspaceError: DVC or its remote failed; the last version and the drops are unchanged.

    """
    present = set(find_tenants_with_drops(workspace)) if tenants else set()
    missing = [tenant for tenant in tenants or () if tenant not in present]
    if missing:
        got = f"no drop of {join_abbreviated(missing)} in {workspace.drops}"
        raise DataError("a drop", got, "write lines to drops/TENANT/SPLIT.jsonl, or import some")
    result = take_drops(workspace.root, workspace.params.data, tenants)
    if result.changed and workspace.params.data.push:
        _mark_remote(workspace)
    log_info(summarize_intake(result))
    for line in describe_taken(result):
        log_info(line)
    return result


def _mark_remote(workspace: Workspace) -> None:
    """Tell other workspaces that use the same remote of this one, so that `prune` in one spares the others' objects."""
    try:
        mark_remote(workspace.root, open_identity(workspace.root).id)
    except WorkspaceError as problem:
        log_warning(f"no mark of this workspace in the DVC remote: {problem}")


def ensure_version(workspace: Workspace, tenants: Sequence[str] | None = None) -> tuple[str, list[TenantOutcome]]:
    """Take the waiting drops (of the named tenants) and fetch missing data; return the version and refused drops.

    Raises:
        DataError: there is no data.dvc.
        WorkspaceError: DVC or its remote failed, or data/ is not the version in data.dvc; the last version and the
            drops are unchanged.

    """
    result = ingest_waiting_drops(workspace, tenants)
    if result is None:
        return ensure_data(workspace), []
    version = result.version if result.taken else ensure_data(workspace)  # taking a drop has checked data/
    return version, [outcome for outcome in to_outcomes(result) if outcome.state == "failed"]


def ingest_waiting_drops(workspace: Workspace, tenants: Sequence[str] | None = None) -> IntakeResult | None:
    """Take all drops (of the named tenants) into a new version; return None if there are none.

    Raises:
        WorkspaceError: DVC or its remote failed; the last version and the drops are unchanged.

    """
    named = None if tenants is None else set(tenants)
    chosen = [tenant for tenant in find_tenants_with_drops(workspace) if named is None or tenant in named]
    return ingest_drops(workspace, None if tenants is None else chosen) if chosen else None


def leave_out_refused(
    workspace: Workspace, tenants: Sequence[str] | None, refused: Sequence[TenantOutcome]
) -> list[str] | None:
    """Return the named tenants without those whose drop was refused and that have no data; None: all tenants."""
    if tenants is None:
        return None
    without_data = {one.tenant for one in refused if not (workspace.data / one.tenant).is_dir()}
    return [tenant for tenant in tenants if tenant not in without_data]


def to_outcomes(result: IntakeResult) -> list[TenantOutcome]:
    """Return the outcome of every tenant whose data an intake changed or whose drop it refused."""
    failed = [TenantOutcome(tenant, "version", "failed", reason) for tenant, reason in result.refused.items()]
    return [TenantOutcome(tenant, "version", "done") for tenant in result.changed] + failed


def find_tenants_with_drops(workspace: Workspace) -> list[str]:
    """Return the tenants that have a drop: names of folders, not checked yet."""
    return [folder.name for folder in list_pending(workspace.drops)]


def summarize_intake(result: IntakeResult) -> str:
    """Return one line about an intake."""
    changed = join_abbreviated(result.changed) or "nothing"
    parts = [f"dataset version {result.version[:12]}: {changed} changed"]
    parts += [f"{result.rejects} lines in quarantine"] if result.rejects else []
    refused = [f"{tenant} refused ({reason})" for tenant, reason in result.refused.items()]
    return "; ".join([*parts, join_abbreviated(refused, "; ")] if refused else parts)


def describe_taken(result: IntakeResult) -> list[str]:
    """Return a line for each tenant whose drop repeats lines, was trimmed or makes splits overlap; at most ten."""
    texts = {tenant: facts.describe() for tenant, facts in result.taken.items()}
    told = [f"{tenant}: {text}" for tenant, text in texts.items() if text]
    more = [f"and {len(told) - _TENANTS_TOLD:,} more tenants"] if len(told) > _TENANTS_TOLD else []
    return [*told[:_TENANTS_TOLD], *more]


def gather_results(workspace: Workspace) -> None:
    """Collect the loss curves and scores of all tenants, and remove the results of tenants that have no data."""
    train.gather_results(workspace)
    evaluate.gather_results(workspace)


def commit_to_dvc(workspace: Workspace) -> None:
    """Record out/ in DVC (`dvc commit`), so that `dvc repro` and `dvc metrics diff` know this run.

    DVC records nothing behind a symbolic link: if out/ or a stage's folder in it is one, only a warning is logged.

    Raises:
        WorkspaceError: DVC refuses.

    """
    out = workspace.root / "out"
    if links := [path for path in (out, *sorted(out.glob("*"))) if path.is_symlink()]:
        log_warning(
            f"the results are not recorded in DVC: {links[0]} is a symbolic link; "
            "make it a folder, or mount the disk there"
        )
        return
    folder = workspace.root / OVERRIDES_FOLDER
    with convert_disk_errors(f"make {folder}"):
        folder.mkdir(exist_ok=True)  # a dependency in dvc.yaml: DVC refuses one that is missing
    commit(workspace.root)
