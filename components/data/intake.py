"""Makes a new dataset version from drops: check, quarantine, merge, version, push, swap.

data/ and data.dvc change only after the new version is complete in DVC's cache and (with `data.push`) on the remote; if
any step fails, the old version stays. Drops are removed last: after a kill they are merged again, and duplicates are
left out. Does not lock: the caller must run one intake at a time.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from components.config import DataConfig
from components.data import drops, dvc, dvc_changes, swap
from components.data.digests import read_dataset_version
from components.data.drop_checks import CheckedDrop, check_drop, quarantine_rejects, show_name
from components.data.merge import DropFacts, merge_drop
from components.data.overlaps import require_few_overlaps
from components.data.schema import check_tenant_id
from components.errors import DataError, WorkspaceError
from components.storage.atomic_files import convert_disk_errors, remove_temporaries, write_atomic

QUARANTINE_FOLDER = "quarantine"


@dataclass(frozen=True)
class IntakeResult:
    """The result of ingesting drops.

    Attributes:
        version: the present dataset version; "" if the workspace has none yet.
        changed: sorted tenants whose data changed.
        refused: tenant (or name of a stray entry) -> why its drop was refused; such a drop stays where it is.
        rejects: number of lines written to quarantine, including those of refused drops.
        taken: tenant -> what its drop added, what was left out, and the overlaps of its splits.

    """

    version: str
    changed: list[str]
    refused: dict[str, str]
    rejects: int
    taken: dict[str, DropFacts] = field(default_factory=dict)


def take_drops(workspace: Path, limits: DataConfig, tenants: Sequence[str] | None = None) -> IntakeResult:
    """Merge the drops (of all tenants, or of those named) into data/ as a new dataset version.

    A drop's examples are appended to its splits without exact duplicates. A refused drop does not stop the others.

    Raises:
        DataError: a name in `tenants` is not a tenant id, or data.dvc is broken.
        WorkspaceError: data/ is not the version in data.dvc, DVC fails, the remote is missing, or the disk is full. The
            old version and all drops are kept.

    """
    chosen = None if tenants is None else {check_tenant_id(tenant) for tenant in tenants}
    swap.recover_swap(workspace)
    reports: list[CheckedDrop] = []
    refused: dict[str, str] = {}
    rejects = 0
    for folder in drops.list_pending(workspace / limits.drops):
        if chosen is not None and folder.name not in chosen:
            continue
        try:
            report = check_drop(folder, limits)
            quarantine_rejects(report, workspace / QUARANTINE_FOLDER)
            rejects += len(report.rejects)
            report.require_usable(limits)
            drops.require_removable(folder)
            reports.append(report)
        except DataError as problem:
            refused[show_name(folder.name)] = str(problem)
    if reports:
        require_current_data(workspace)
    taken: dict[str, DropFacts] = {}
    changed: dict[str, dict[str, bytes]] = {}
    for report in reports:
        try:
            present = workspace / swap.DATA_FOLDER / report.tenant
            report.require_all_splits(present)
            merged = merge_drop(report, present, limits)
            require_few_overlaps(report.tenant, merged.facts.overlaps, limits)
        except DataError as problem:
            refused[report.tenant] = str(problem)
            continue
        taken[report.tenant] = merged.facts
        if merged.contents:
            changed[report.tenant] = dict(merged.contents)
    if changed or (taken and not (workspace / dvc.POINTER_FILE).exists()):
        _create_merged_version(workspace, changed, push=limits.push)
    _remove_taken([report for report in reports if report.tenant in taken], workspace / limits.drops)
    return IntakeResult(_read_version(workspace), sorted(changed), refused, rejects, taken)


def _remove_taken(reports: Sequence[CheckedDrop], folder: Path) -> None:
    """Remove the taken drops. One that cannot be removed does not stop the others; the first error is raised last."""
    problems: list[WorkspaceError] = []
    for report in reports:
        try:
            drops.remove_checked_files(report, folder / report.tenant)
        except WorkspaceError as problem:
            problems.append(problem)
    if problems:
        raise problems[0]


def require_current_data(workspace: Path) -> None:
    """Fetch data/ if it is missing. Raise WorkspaceError if it is not the version in data.dvc."""
    if not (workspace / dvc.POINTER_FILE).exists():
        return
    if not (workspace / swap.DATA_FOLDER).exists():
        dvc.pull(workspace)
    elif not dvc.is_clean(workspace):
        fix = "run `dvc add data` to keep these files, or `dvc checkout data.dvc` to restore that version"
        raise WorkspaceError("the version of data/ that data.dvc names", f"changed files in {workspace / 'data'}", fix)


def _create_merged_version(workspace: Path, changed: dict[str, dict[str, bytes]], *, push: bool) -> None:
    with create_version(workspace, changed, push=push) as staged:
        for tenant, splits in changed.items():
            for split, content in splits.items():
                write_atomic(staged / tenant / f"{split}.jsonl", content)


@contextmanager
def create_version(workspace: Path, tenants: Collection[str], *, push: bool) -> Iterator[Path]:
    """Yield a folder with copies of these tenants' folders to change; they become the new version at the end.

    If anything fails, they are discarded. data/ must be the version in data.dvc.
    """
    try:
        staged = swap.stage_tenants(workspace, tenants)
        yield staged
        if not dvc_changes.add_changes(workspace, swap.STAGED_FOLDER, tenants):
            swap.stage_others(workspace, tenants)
            _add_staged(workspace)
        if push and not dvc_changes.push_changes(workspace, swap.STAGED_POINTER):
            dvc.push(workspace, swap.STAGED_POINTER)
    except BaseException:
        swap.recover_swap(workspace)
        raise
    swap.swap_in_staged(workspace, tenants)


def _add_staged(workspace: Path) -> None:
    """Add the staged folder to DVC, and replace its name, which DVC adds to .gitignore, by data/."""
    dvc.add(workspace, swap.STAGED_FOLDER)
    path = workspace / ".gitignore"
    if not path.exists():
        return
    with convert_disk_errors(f"read {path}"):
        lines = path.read_bytes().splitlines()
    kept = [line for line in lines if line.strip() != f"/{swap.STAGED_FOLDER}".encode()]
    if not (workspace / dvc.POINTER_FILE).exists() and f"/{swap.DATA_FOLDER}".encode() not in kept:
        kept.append(f"/{swap.DATA_FOLDER}".encode())
    remove_temporaries(path)
    if kept != lines:
        write_atomic(path, b"".join(line + b"\n" for line in kept))


def _read_version(workspace: Path) -> str:
    pointer = workspace / dvc.POINTER_FILE
    return read_dataset_version(pointer) if pointer.exists() else ""
