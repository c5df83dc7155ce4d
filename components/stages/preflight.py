"""Checks that a workspace has all that a command will need, before any work, and names everything that is missing.

Reads a few small files and asks git once. Does not load the base, and does not ask the DVC remote or MLflow.
"""

import configparser
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from components.config import PARAMS_FILE, Params, load_workspace_params
from components.data.dvc import has_remote
from components.errors import PrefixFleetError, WorkspaceError
from components.stages.progress import log_warning

_HUB_ID = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")
BUILTIN_BASE = "base"
"""The base in the repository; no id on the hub."""
_GENERATED_FOLDERS = ("out", "var")


def check_ready(root: Path, *, takes_drops: bool = True) -> None:
    """Check that data can be taken and tenants trained in the workspace `root`. Warns of what is only unwise.

    `takes_drops`: whether a new dataset version may be made, which needs a DVC remote if `data.push` is set.

    Raises:
        WorkspaceError: something is missing; the message lists all of it, with the commands that make it.
        ConfigError: params.yaml cannot be read.
    """
    missing = list(_find_missing(root, takes_drops))
    if missing:
        got = "; ".join(what for what, _ in missing)
        fix = "; ".join(fix for _, fix in missing)
        raise WorkspaceError(f"a complete workspace in {root.resolve()}", got, fix)
    for warning in _find_warnings(root):
        log_warning(warning)


def _find_missing(root: Path, takes_drops: bool) -> Iterator[tuple[str, str]]:
    """Yield what is missing and how to make it."""
    if not root.is_dir():
        yield "no such folder", f"name the workspace's top folder with -C, or make one: `prefixfleet init {root}`"
        return
    params: Params | None = None
    if (root / PARAMS_FILE).is_file():
        params = load_workspace_params(root)
    else:
        fix = f"run from the workspace's top folder, or name it with -C; to make one here: `prefixfleet init {root}`"
        yield f"no {PARAMS_FILE}", fix
    has_dvc = (root / ".dvc").is_dir()
    config = _read_dvc_config(root)
    if not has_git(root) and not config.getboolean("core", "no_scm", fallback=False):
        yield "no git repository", "`git init`"
    if not has_dvc:
        yield "no .dvc folder", "`dvc init`"
    if takes_drops and (params is None or params.data.push) and not _has_remote(root, config, has_dvc=has_dvc):
        yield "no DVC remote", "`dvc remote add -d NAME URL`, or set data.push to false"
    path = BUILTIN_BASE if params is None else params.base.path
    if not (root / path).is_dir() and not is_hub_id(path):
        yield f"no base in {root / path}", "copy the folder of a model there, or correct base.path"


def _find_warnings(root: Path) -> Iterator[str]:
    if not (root / "dvc.yaml").is_file():
        yield (
            "there is no dvc.yaml, so `dvc repro`, `dvc metrics` and `dvc plots` do not know the results; "
            "`prefixfleet upgrade` shows it"
        )
    open_folders = [name for name in _GENERATED_FOLDERS if not _is_ignored(root, name)]
    if open_folders:
        names = " and ".join(f"/{name}" for name in open_folders)
        yield f".gitignore does not have {names}: `git add .` would add what runs generate; add a line for each"


def is_hub_id(path: str) -> bool:
    """Return whether a base's path has the form of an id on the Hugging Face hub."""
    return path != BUILTIN_BASE and _HUB_ID.fullmatch(path) is not None


def has_git(root: Path) -> bool:
    """Return whether a folder is in a git repository."""
    return any((folder / ".git").exists() for folder in (root.resolve(), *root.resolve().parents))


def _is_ignored(root: Path, name: str) -> bool:
    """Whether git ignores a folder; True if git cannot tell."""
    command = ["git", "check-ignore", "-q", "--no-index", f"{name}/"]
    try:
        return subprocess.run(command, cwd=root, capture_output=True, check=False).returncode != 1
    except OSError:
        return True


def _read_dvc_config(root: Path) -> configparser.ConfigParser:
    config = configparser.ConfigParser(strict=False, interpolation=None)
    try:
        config.read([root / ".dvc" / "config", root / ".dvc" / "config.local"], encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):  # DVC reports it
        return configparser.ConfigParser()
    return config


def _has_remote(root: Path, config: configparser.ConfigParser, *, has_dvc: bool) -> bool:
    """Whether a default remote is set, in the workspace or, which only DVC can tell, for the user or the machine."""
    if config.get("core", "remote", fallback="") or not has_dvc:
        return bool(has_dvc)
    try:
        return has_remote(root)
    except PrefixFleetError:
        return False
