"""The files that PrefixFleet brings for a workspace: DVC's stages, the flows' deployments, plots, the built-in base.

In a checkout of the project they are the project's own; in an installation they lie in share/prefixfleet of the
environment. Does not know what a workspace is made of.
"""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from components.errors import WorkspaceError

_PROJECT = Path(__file__).resolve().parents[3]
_MARK = "dvc.yaml"
_SHARE = f"share/prefixfleet/{_MARK}"


def find_product_files() -> Path:
    """Return the folder that has dvc.yaml, prefect.yaml, .dvc/plots, infra/workspace and base.

    Raises:
        WorkspaceError: the installation is not complete.
    """
    for folder in _list_places():
        if (folder / _MARK).is_file():
            return folder
    fix = "install PrefixFleet again: `pip install --force-reinstall prefixfleet`"
    raise WorkspaceError("PrefixFleet's own files for workspaces", "an installation without them", fix)


def _list_places() -> Iterator[Path]:
    yield _PROJECT
    try:
        files = distribution("prefixfleet").files or []
    except PackageNotFoundError:
        return
    for file in files:
        if file.as_posix().endswith(_SHARE):
            yield Path(str(file.locate())).resolve().parent
