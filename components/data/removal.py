"""A dataset version without a tenant.

Knows no store: see `components.data.dvc_objects` for what older versions hold of the tenant.
"""

import shutil
from pathlib import Path

from components.data import dvc, swap
from components.data.intake import new_version, require_current
from components.storage.atomic_files import disk_errors


def remove_from_dataset(workspace: Path, tenant: str, *, push: bool) -> bool:
    """Make a dataset version without the tenant; says whether it had data in the last one.

    Raises:
        WorkspaceError: data/ is not what data.dvc names, DVC fails, or the disk is full. The last version stands.
    """
    swap.recover(workspace)
    if not (workspace / dvc.POINTER).exists():
        return False
    require_current(workspace)
    if not (workspace / swap.DATA / tenant).exists():
        return False
    with new_version(workspace, push=push) as staged, disk_errors(f"remove {staged / tenant}"):
        shutil.rmtree(staged / tenant)
    return True
