"""Drops as a person handles them: written from a known format, checked before they are taken in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.data.drop_checks import CheckedDrop, check_drop
from components.data.dvc import POINTER_FILE
from components.data.schema import check_tenant_id, write_split
from components.errors import DataError
from components.stages.dataset import find_tenants_with_drops
from components.stages.progress import join_abbreviated
from components.stages.workspace import Workspace


def write_drop(workspace: Workspace, kind: str, path: str, tenant: str, options: Mapping[str, str]) -> dict[str, int]:
    """Import `path` as a drop of `tenant`; returns the examples of each split.

    Raises:
        DataError: an unknown kind or option, a file that is not of it, no tenant id, or a drop that still waits.

    """
    from components.data.importers import import_dataset

    check_tenant_id(tenant)
    folder = workspace.drops / tenant
    if tenant in find_tenants_with_drops(workspace):
        fix = f"take it in first (`prefixfleet data take --tenant {tenant}`), or remove it"
        raise DataError(f"no drop of {tenant} waiting", f"one in {folder}", fix)
    splits = import_dataset(kind, path, workspace.params.data, **options)
    for split, examples in splits.items():
        write_split(folder / f"{split}.jsonl", examples)
    return {split: len(examples) for split, examples in splits.items()}


@dataclass(frozen=True, slots=True)
class DropCheck:
    """A drop as an intake would see it: what it holds, and why it would be refused as a whole ("" where it would not).

    `report` is None where not even its lines could be looked at.
    """

    report: CheckedDrop | None
    refusal: str


def check_drops(workspace: Workspace, tenants: Sequence[str] | None = None) -> dict[str, DropCheck]:
    """Check every (or each named) tenant's drop without taking it in.

    Raises:
        DataError: no drop at all, or none of a named tenant.

    """
    present = find_tenants_with_drops(workspace)
    chosen = present if tenants is None else list(tenants)
    known = set(present)
    missing = [tenant for tenant in chosen if tenant not in known]
    if missing or not chosen:
        got = f"none of {join_abbreviated(missing)}" if missing else "none"
        raise DataError(f"drops in {workspace.drops}", got, "put lines into drops/TENANT/SPLIT.jsonl, or import some")
    return {tenant: _check_tenant_drop(workspace, tenant) for tenant in chosen}


def _check_tenant_drop(workspace: Workspace, tenant: str) -> DropCheck:
    report = None
    try:
        report = check_drop(workspace.drops / tenant, workspace.params.data)
        report.require_usable(workspace.params.data)
        if (
            workspace.data.is_dir() or not (workspace.root / POINTER_FILE).exists()
        ):  # else nobody knows before `dvc pull`
            report.require_all_splits(workspace.data)
    except DataError as problem:
        return DropCheck(report, str(problem))
    return DropCheck(report, "")
