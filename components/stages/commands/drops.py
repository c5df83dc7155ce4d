"""Commands on drops (new examples to ingest): write one from a known format, and check drops before ingestion."""

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
    """Import `path`, a data set of the format `kind`, as a drop of `tenant`; return the number of examples by split.

    Raises:
        DataError: an unknown format or option, a file of another format, no tenant id, or one that has a drop already.

    """
    from components.data.importers import import_dataset

    check_tenant_id(tenant)
    folder = workspace.drops / tenant
    if tenant in find_tenants_with_drops(workspace):
        fix = f"take it first (`prefixfleet data take --tenant {tenant}`), or remove it"
        raise DataError(f"no drop of {tenant} waiting", f"one in {folder}", fix)
    splits = import_dataset(kind, path, workspace.params.data, **options)
    for split, examples in splits.items():
        write_split(folder / f"{split}.jsonl", examples)
    return {split: len(examples) for split, examples in splits.items()}


@dataclass(frozen=True, slots=True)
class DropCheck:
    """The result of checking one drop without ingesting it."""

    report: CheckedDrop | None
    """Its accepted and rejected lines; None if its files could not be read."""
    refusal: str
    """Why the whole drop would be refused; "" if it would be ingested."""


def check_drops(workspace: Workspace, tenants: Sequence[str] | None = None) -> dict[str, DropCheck]:
    """Check the drops of all or the named tenants without ingesting them.

    Raises:
        DataError: there is no drop, or none of a named tenant.

    """
    present = find_tenants_with_drops(workspace)
    chosen = present if tenants is None else list(tenants)
    known = set(present)
    missing = [tenant for tenant in chosen if tenant not in known]
    if missing or not chosen:
        got = f"none of {join_abbreviated(missing)}" if missing else "none"
        raise DataError(
            f"drops in {workspace.drops}",
            got,
            "write drops/TENANT/SPLIT.jsonl, or import a data set (`prefixfleet data import --help`)",
        )
    return {tenant: _check_tenant_drop(workspace, tenant) for tenant in chosen}


def _check_tenant_drop(workspace: Workspace, tenant: str) -> DropCheck:
    report = None
    try:
        report = check_drop(workspace.drops / tenant, workspace.params.data)
        report.require_usable(workspace.params.data)
        # Before `dvc pull` the tenant's present splits are not known.
        if workspace.data.is_dir() or not (workspace.root / POINTER_FILE).exists():
            report.require_all_splits(workspace.data)
    except DataError as problem:
        return DropCheck(report, str(problem))
    return DropCheck(report, "")
