"""Makes a dataset version without one tenant.

Does not remove the tenant's objects of older versions from DVC's stores: see `components.data.dvc_objects`.
"""

from pathlib import Path

from components.data import dvc, swap
from components.data.intake import create_version, require_current_data
from components.storage.atomic_files import convert_disk_errors, remove_tree


def remove_from_dataset(workspace: Path, tenant: str, *, push: bool) -> bool:
    """Make a dataset version without the tenant; return whether the tenant had data before.

    Raises:
        WorkspaceError: data/ is not the version in data.dvc, DVC fails, or the disk is full. The old version is kept.
    """
    swap.recover_swap(workspace)
    if not (workspace / dvc.POINTER_FILE).exists():
        return False
    require_current_data(workspace)
    if not (workspace / swap.DATA_FOLDER / tenant).exists():
        return False
    with create_version(workspace, [tenant], push=push) as staged, convert_disk_errors(f"remove {staged / tenant}"):
        remove_tree(staged / tenant)
    return True
