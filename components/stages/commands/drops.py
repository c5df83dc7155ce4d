"""Writes a drop (new examples to ingest) from a data set of a known format."""

from collections.abc import Mapping

from components.data.schema import check_tenant_id, write_split
from components.errors import DataError
from components.stages.dataset import find_tenants_with_drops
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
