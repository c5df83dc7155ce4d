"""A dataset version without a tenant. Knows no store: what older versions have of it is for components.data.objects."""

import shutil
from pathlib import Path

from components.data import swap, versions
from components.data.files import disk_errors
from components.data.intake import new_version, require_current


def remove_from_dataset(workspace: Path, tenant: str, *, push: bool) -> bool:
    """Make a dataset version without the tenant; says whether it had data in the last one.

    Raises:
        WorkspaceError: data/ is not what data.dvc names, DVC fails, or the disk is full. The last version stands.
    """
    swap.recover(workspace)
    if not (workspace / versions.POINTER).exists():
        return False
    require_current(workspace)
    if not (workspace / swap.DATA / tenant).exists():
        return False
    with new_version(workspace, push=push) as staged, disk_errors(f"remove {staged / tenant}"):
        shutil.rmtree(staged / tenant)
    return True
