"""Make a workspace: a git and DVC repository with params.yaml, the stages, the deployments, and a base.

Writes params.yaml last, so that a folder which has it is complete. A second call after a failure goes on: files that
have the wanted content stay. Knows files and tools; trains nothing.
"""

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from components.config import PARAMS_FILE
from components.data.dvc import make_repository, run_dvc
from components.errors import BaseModelError, WorkspaceError
from components.stages.commands.product_files import find_product_files
from components.stages.preflight import BUILTIN_BASE, has_git, is_hub_id
from components.storage.atomic_files import convert_disk_errors, write_atomic

_BASE_STAGE_DEPENDENCY = "    deps: [base]\n"
_DVC_CONFIG = """[core]
    analytics = false
[plots]
    out_dir = var/plots
    html_template = plots/page.html
"""
_DVC_IGNORE_START = b"# Add patterns of files dvc should ignore"
_REMOTE = "team"
_BUILTIN_VALUES = {"LEARNING_RATE": "0.1", "MAX_STEPS": "200", "DTYPE": "float32"}
_OTHER_VALUES = {
    "LEARNING_RATE": "0.02",
    "MAX_STEPS": "400",
    "DTYPE": "float32  # or bfloat16, on a device that has it",
}


@dataclass(frozen=True, slots=True)
class NewWorkspace:
    """What `make_workspace` has made."""

    root: Path
    base: str
    has_remote: bool
    is_committed: bool
    """Whether git has the files: not in a repository that existed before, nor if git does not know who commits."""


def make_workspace(folder: Path, base: str | None = None, remote: str | None = None) -> NewWorkspace:
    """Make a workspace in a new or empty folder, or in a git repository without files of the same names.

    `base` is a folder of a model or an id on the hub; None: a copy of the built-in base. `remote` is the URL of the DVC
    remote; None: new dataset versions are not pushed.

    Raises:
        WorkspaceError: a file would be overwritten, git or DVC fails, or the disk refuses.
        BaseModelError: there is no such base.
    """
    root, product = folder.resolve(), find_product_files()
    path = BUILTIN_BASE if base is None else _find_base(base)
    files = {name: text.encode() for name, text in write_files(product, path, has_remote=remote is not None).items()}
    built_in = {} if path != BUILTIN_BASE else _read_folder(product, BUILTIN_BASE)
    _check_free(root, {**built_in, **files})
    is_new_repository = not has_git(root)
    with convert_disk_errors(f"make {root}"):
        root.mkdir(parents=True, exist_ok=True)
        if is_new_repository:
            _run_git(root, "init", "-q")
        if not (root / ".dvc").is_dir():
            make_repository(root, in_git_top=(root / ".git").exists())
            (root / ".dvc" / "config").write_text(_DVC_CONFIG, encoding="utf-8")
        if remote is not None:
            run_dvc(root, "remote", "add", "-q", "-d", _REMOTE, _find_remote(remote))
        (root / "drops").mkdir(exist_ok=True)
        for name, content in {**built_in, **files}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(root / name, content)
    is_committed = is_new_repository and _commit(root)
    return NewWorkspace(root, path, remote is not None, is_committed)


def write_files(product: Path, base_path: str, *, has_remote: bool) -> dict[str, str]:
    """Return the text of each file of a new workspace by its name, params.yaml last; `product`: PrefixFleet's files."""
    texts = {name: (product / name).read_text(encoding="utf-8") for name in list_product_owned(product)}
    if base_path != BUILTIN_BASE:
        texts["dvc.yaml"] = texts["dvc.yaml"].replace(_BASE_STAGE_DEPENDENCY, "")
    templates = product / "infra" / "workspace"
    params = (templates / PARAMS_FILE).read_text(encoding="utf-8")
    values = {
        **(_BUILTIN_VALUES if base_path == BUILTIN_BASE else _OTHER_VALUES),
        "BASE_PATH": base_path,
        "HAS_REMOTE": "true" if has_remote else "false",
    }
    for name, value in values.items():
        params = params.replace(f": {name}", f": {value}")
    return {
        **texts,
        ".gitignore": (templates / "gitignore").read_text(encoding="utf-8"),
        "README.md": (templates / "README.md").read_text(encoding="utf-8"),
        "overrides/.gitkeep": "",
        PARAMS_FILE: params,
    }


def list_product_owned(product: Path) -> Iterator[str]:
    """Yield the names of the files of a workspace that are the same in all workspaces."""
    yield from ("dvc.yaml", "prefect.yaml", ".dvcignore")
    for path in sorted((product / ".dvc" / "plots").iterdir()):
        yield f".dvc/plots/{path.name}"


def _find_base(base: str) -> str:
    folder = Path(base).expanduser()
    if (folder / "config.json").is_file():
        return str(folder.resolve())
    if is_hub_id(base) and not folder.exists():
        return base
    got = f"a folder without config.json: {folder}" if folder.is_dir() else f"no folder {folder}"
    fix = "name the folder that `save_pretrained` wrote, or an id such as Qwen/Qwen2.5-0.5B"
    raise BaseModelError("the folder of a transformers model, or an id on the Hugging Face hub", got, fix)


def _read_folder(product: Path, name: str) -> dict[str, bytes]:
    return {f"{name}/{path.name}": path.read_bytes() for path in sorted((product / name).iterdir()) if path.is_file()}


def _find_remote(remote: str) -> str:
    return remote if "://" in remote else str(Path(remote).expanduser().resolve())


def _check_free(root: Path, files: Mapping[str, bytes]) -> None:
    if root.exists() and not root.is_dir():
        raise WorkspaceError("a folder for the workspace", f"a file {root}", "name another folder")
    taken = [name for name, content in files.items() if (root / name).exists() and not _has(root / name, content)]
    if PARAMS_FILE in taken or (root / PARAMS_FILE).exists():
        fix = "use it as it is; `prefixfleet upgrade` shows what a new workspace would have different"
        raise WorkspaceError("a folder without a workspace", f"{root / PARAMS_FILE}", fix)
    if taken:
        fix = "name an empty folder, or move these files away"
        raise WorkspaceError("a folder without files of the same names", f"{', '.join(taken)} in {root}", fix)


def _has(path: Path, content: bytes) -> bool:
    """Return whether a file has this content, or only what `dvc init` writes."""
    if not path.is_file():
        return False
    present = path.read_bytes()
    return present == content or (path.name == ".dvcignore" and present.startswith(_DVC_IGNORE_START))


def _commit(root: Path) -> bool:
    _run_git(root, "add", "-A")
    command = ["git", "commit", "-q", "-m", "Make a workspace of PrefixFleet"]
    return subprocess.run(command, cwd=root, capture_output=True, check=False).returncode == 0


def _run_git(root: Path, *arguments: str) -> None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise WorkspaceError("git", "no git on PATH", "install it (Debian: apt-get install git)") from None
    if done.returncode:
        got = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise WorkspaceError(f"`git {arguments[0]}` to work in {root}", got, "solve git's problem, then try again")
