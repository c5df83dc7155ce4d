"""A dataset version without a tenant.

Knows no store: see `components.data.dvc_objects` for what older versions hold of the tenant.
"""

import shutil
from pathlib import Path

from components.data import dvc, swap
from components.data.intake import create_version, require_current_data
from components.storage.atomic_files import convert_disk_errors


def remove_from_dataset(workspace: Path, tenant: str, *, push: bool) -> bool:
    """Make a dataset version without the tenant; says whether it had data in the last one.

    Raises:
        WorkspaceError: data/ is not what data.dvc names, DVC fails, or the disk is full. The last version stands.
    """
    swap.recover_swap(workspace)
    if not (workspace / dvc.POINTER_FILE).exists():
        return False
    require_current_data(workspace)
    if not (workspace / swap.DATA_FOLDER / tenant).exists():
        return False
    with create_version(workspace, push=push) as staged, convert_disk_errors(f"remove {staged / tenant}"):
        shutil.rmtree(staged / tenant)
    return True
