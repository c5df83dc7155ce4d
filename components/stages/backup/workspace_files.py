"""Which files of a workspace belong in a backup, beside its repository, databases and artifacts.

Left out is what can be made again (caches), what belongs to one machine (locks, logs, Prefect's records) and what may
hold secrets (.dvc/config.local). Does not know how files are copied.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from components.config import PARAMS_FILE, BaseConfig, InitFile
from components.config.overrides import OVERRIDES_FOLDER
from components.data.intake import QUARANTINE_FOLDER
from components.errors import ConfigError, WorkspaceError
from components.stages.backup.git_state import GitState, list_changed, list_tracked
from components.stages.next_base_view import RESULTS_FOLDER
from components.stages.workspace import Workspace
from components.storage.backups.sender import FileSource
from components.storage.workspace_identity import IDENTITY_FILE

PART = "workspace"
"""First part of the names of these files."""

_PATTERNS = (PARAMS_FILE, "*.dvc", "dvc.yaml", "dvc.lock", "prefect.yaml", ".dvcignore", ".gitignore")
_DVC_PATTERNS = (".dvc/config", ".dvc/.gitignore", ".dvc/plots/**/*")
_VAR_NAMES = ("tune", "failures", "fine_tuning", RESULTS_FOLDER, "training-rates.json")
_UPLOADS = "var/uploads"
_PASSWORD = re.compile(r"://[^/\s:@'\"]+:[^/\s@'\"]+@")
_LARGEST_SETTINGS_BYTES = 4 << 20


def list_workspace_files(workspace: Workspace, git: GitState | None) -> Iterator[FileSource]:
    """Yield the files, each once.

    Raises:
        WorkspaceError: a folder cannot be read.
    """
    root = workspace.root
    names = dict.fromkeys(_list_settings(root), False)
    """Name -> whether it may vanish."""
    tracked = set() if git is None else list_tracked(root)
    for folder in list_base_folders(workspace):
        names |= {name: False for name in _walk(root, folder) if name not in tracked}
    names |= dict.fromkeys(_list_named_files(workspace), False)
    if git is not None:
        names |= dict.fromkeys(list_changed(root, git), False)
    for folder in (workspace.data, root / "out"):
        names |= dict.fromkeys(_walk(root, folder), False)
    for folder in (workspace.drops, root / QUARANTINE_FOLDER, *(root / "var" / name for name in _VAR_NAMES)):
        names |= dict.fromkeys(_walk(root, folder), True)
    names |= dict.fromkeys(_walk(root, root / IDENTITY_FILE), False)
    for name, may_vanish in names.items():
        yield FileSource(f"{PART}/{name}", root / name, may_vanish=may_vanish)


def refuse_passwords(root: Path) -> None:
    """Check the files of settings. Raises ConfigError: one has a password in a URL."""
    for name in _list_settings(root):
        if (root / name).stat().st_size > _LARGEST_SETTINGS_BYTES:
            continue
        for number, line in enumerate((root / name).read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if _PASSWORD.search(line) and not line.lstrip().startswith("#"):
                got = f"a URL with a password in {name}, line {number}"
                fix = (
                    "take it out: MLFLOW_TRACKING_URI and PREFIXFLEET_DATABASE, or ~/.pgpass, can have it; "
                    "`dvc remote modify --local` for a DVC remote"
                )
                raise ConfigError("settings without secrets, since a backup has them in clear", got, fix)


def list_uploads(workspace: Workspace) -> list[FileSource]:
    """Return the files that callers uploaded for fine-tuning; servers add and remove some meanwhile."""
    root = workspace.root
    return [FileSource(f"{PART}/{name}", root / name, may_vanish=True) for name in _walk(root, root / _UPLOADS)]


def list_base_folders(workspace: Workspace) -> list[Path]:
    """Return the folders of the base, and of the next one, that lie in the workspace."""
    folders = [workspace.root / base.path for base in _list_bases(workspace)]
    return [folder for folder in folders if folder.is_dir() and folder.resolve().is_relative_to(workspace.root)]


def list_outside(workspace: Workspace) -> list[str]:
    """Return what the fleet reads from other places than the workspace, as phrases: it is not in a backup."""
    root, inside = workspace.root, list_base_folders(workspace)
    found = [f"the base {base.path}" for base in _list_bases(workspace) if root / base.path not in inside]
    if not workspace.drops.is_relative_to(root):
        found.append(f"the drops in {workspace.drops}")
    if (root / ".dvc" / "config.local").is_file():
        found.append(".dvc/config.local, which may hold secrets")
    return found


def _list_bases(workspace: Workspace) -> list[BaseConfig]:
    params = workspace.params
    return [params.base, *([params.next_base] if params.next_base else [])]


def _list_named_files(workspace: Workspace) -> Iterator[str]:
    """Yield the files in the workspace that params.yaml names."""
    params, root = workspace.params, workspace.root
    texts = [params.for_tenant(tenant).train.init_text for tenant in params.tenants]
    named = [text.file for text in (params.train.init_text, *texts) if isinstance(text, InitFile)]
    named += [
        base.chat_template for base in _list_bases(workspace) if base.chat_template and not base.has_inline_template
    ]
    for name in dict.fromkeys(named):
        path = root / name
        if path.is_file() and path.resolve().is_relative_to(root):
            yield str(path.resolve().relative_to(root))


def _list_settings(root: Path) -> Iterator[str]:
    for pattern in (*_PATTERNS, *_DVC_PATTERNS):
        yield from (str(path.relative_to(root)) for path in root.glob(pattern) if path.is_file())
    yield from _walk(root, root / OVERRIDES_FOLDER)


def _walk(root: Path, folder: Path) -> Iterator[str]:
    """Yield the files below a folder of the workspace (or the one file), relative to the workspace.

    Links are followed. Temporary files of writes are left out, but for files of drops that are being taken.
    """
    if folder.is_file():
        yield str(folder.relative_to(root))
        return
    if not folder.is_relative_to(root):
        return

    def refuse(problem: OSError) -> None:
        if not isinstance(problem, FileNotFoundError):
            got = f"{problem.strerror} ({problem.filename})"
            raise WorkspaceError(f"to read {folder}", got, "correct its permissions") from problem

    for place, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        folders.sort()
        for name in sorted(files):
            path = Path(place, name)
            is_temporary = name.startswith(".") and name.endswith(".tmp") and not name.endswith(".taken.tmp")
            if not is_temporary and path.is_file():
                yield str(path.relative_to(root))
