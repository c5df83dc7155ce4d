"""Drops into a new dataset version: check, quarantine, merge, version, push, swap; or the old version stands.

Nothing that is live changes before the new version is complete, in DVC's cache and (with `data.push`) on the remote.
Drops are taken away last: after a kill in between they are merged again, and add nothing twice.
Knows no lock: one intake at a time is the caller's part.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.config import DataConfig
from components.data import drops, dvc, swap
from components.data.digests import read_dataset_version
from components.data.drop_checks import CheckedDrop, check_drop, quarantine_rejects, remove_duplicates
from components.data.schema import SPLITS, check_tenant_id, format_line, read_split
from components.errors import DataError, WorkspaceError
from components.storage.atomic_files import remove_temporaries, write_atomic

QUARANTINE_FOLDER = "quarantine"


@dataclass(frozen=True)
class IntakeResult:
    """What became of the drops.

    Attributes:
        version: the dataset version that stands now; empty where the workspace has none yet.
        changed: tenants whose data is new in it, sorted.
        refused: by tenant (or stray name) why its drop was refused; the drop lies where it was.
        rejects: lines written to quarantine, of refused drops too.

    """

    version: str
    changed: list[str]
    refused: dict[str, str]
    rejects: int


def take_drops(workspace: Path, limits: DataConfig, tenants: Sequence[str] | None = None) -> IntakeResult:
    """Merge the drops (of all tenants, or of those named) into data/ as a new dataset version.

    A drop's examples are appended to its splits, exact duplicates left out. A refused drop stops no other tenant's.

    Raises:
        DataError: a name in `tenants` is no tenant id, or data.dvc is broken.
        WorkspaceError: data/ is not what data.dvc names, DVC fails, the remote is missing, the disk is full. The old
            version and all drops stand.

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
            reports.append(report)
        except DataError as problem:
            refused[folder.name] = str(problem)
    if reports:
        require_current_data(workspace)
    fresh: dict[str, dict[str, bytes]] = {}
    for report in reports:
        try:
            report.require_all_splits(workspace / swap.DATA_FOLDER)
            fresh[report.tenant] = _merge_splits(workspace / swap.DATA_FOLDER / report.tenant, report, limits)
        except DataError as problem:
            refused[report.tenant] = str(problem)
    changed = {tenant: splits for tenant, splits in fresh.items() if splits}
    if changed or (fresh and not (workspace / dvc.POINTER_FILE).exists()):
        _create_merged_version(workspace, changed, push=limits.push)
    for report in reports:
        if report.tenant in fresh:
            drops.remove_checked_files(report, workspace / limits.drops / report.tenant)
    return IntakeResult(_read_version(workspace), sorted(changed), refused, rejects)


def require_current_data(workspace: Path) -> None:
    """Fetch data/ where it is missing. Raises WorkspaceError where it is not what data.dvc names."""
    if not (workspace / dvc.POINTER_FILE).exists():
        return
    if not (workspace / swap.DATA_FOLDER).exists():
        dvc.pull(workspace)
    elif not dvc.is_clean(workspace):
        fix = "`dvc add data` keeps what lies there, `dvc checkout data.dvc` takes what data.dvc names"
        raise WorkspaceError("data/ as data.dvc names it", f"another in {workspace}", fix)


def _merge_splits(folder: Path, report: CheckedDrop, limits: DataConfig) -> dict[str, bytes]:
    """Content of the splits that the drop changes; what stood in them stays as it is, byte by byte."""
    merged: dict[str, bytes] = {}
    for split in SPLITS:
        path = folder / f"{split}.jsonl"
        accepted = report.accepted.get(split, [])
        old = path.read_bytes() if path.exists() else b""
        known = {format_line(example) for example in read_split(path, limits)} if old.strip() else set()
        new = remove_duplicates(line.encode() for example in accepted if (line := format_line(example)) not in known)
        if new:
            merged[split] = b"".join([old, b"\n" if old and not old.endswith(b"\n") else b"", *new])
    return merged


def _create_merged_version(workspace: Path, changed: dict[str, dict[str, bytes]], *, push: bool) -> None:
    with create_version(workspace, push=push) as staged:
        for tenant, splits in changed.items():
            for split, content in splits.items():
                write_atomic(staged / tenant / f"{split}.jsonl", content)


@contextmanager
def create_version(workspace: Path, *, push: bool) -> Iterator[Path]:
    """A copy of data/ to change inside; afterwards it is the dataset's version, and when anything fails nothing is."""
    try:
        staged = swap.stage_copy(workspace)
        yield staged
        _add_staged(workspace)
        if push:
            dvc.push(workspace, swap.STAGED_POINTER)
    except BaseException:
        swap.recover_swap(workspace)
        raise
    swap.swap_in_staged(workspace)


def _add_staged(workspace: Path) -> None:
    """Version the staged folder. In .gitignore its passing name, which DVC adds, gives way to data/ itself."""
    dvc.add(workspace, swap.STAGED_FOLDER)
    path = workspace / ".gitignore"
    if not path.exists():
        return
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
