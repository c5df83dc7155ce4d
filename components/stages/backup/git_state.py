"""The workspace's git repository in a backup: a bundle of all its commits, and what differs from the checked-out one.

Knows git's command line; does not know what the files are. Configuration, hooks and remotes' credentials are not
copied.
"""

import hashlib
import subprocess
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from components.errors import WorkspaceError
from components.storage.backups.sender import FileSource
from components.storage.urls import hide_password

PART = "git"
"""First part of the name of the bundle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GitState:
    """The repository of a workspace; the workspace may be a folder in it."""

    folder: str
    """Of the workspace in the repository; "": the repository's top."""
    branch: str
    """Full name of the checked-out branch; "": a commit is checked out."""
    commit: str
    """"": there is no commit yet, and so no bundle."""
    refs: str
    """All branches and tags with their commits: equal refs have equal bundles."""
    remotes: tuple[str, ...]
    """Names and URLs, without passwords."""
    removed: tuple[str, ...]
    """Tracked files that were removed without a commit, relative to the workspace."""


def read_git_state(workspace: Path) -> GitState | None:
    """Return the state of the repository; None: the workspace is in none. Raises WorkspaceError: git fails."""
    if _call(workspace, "rev-parse", "--is-inside-work-tree").returncode:
        return None
    has_commit = _call(workspace, "rev-parse", "--verify", "-q", "HEAD").returncode == 0
    head = _call(workspace, "symbolic-ref", "-q", "HEAD").stdout.strip()
    remotes = _run(workspace, "remote", "-v").splitlines()
    return GitState(
        folder=_run(workspace, "rev-parse", "--show-prefix").strip().rstrip("/"),
        branch=head,
        commit=_run(workspace, "rev-parse", "HEAD").strip() if has_commit else "",
        refs=_run(workspace, "for-each-ref", "--format=%(refname) %(objectname)") if has_commit else "",
        remotes=tuple(sorted({hide_password(line.rpartition(" (")[0].replace("\t", " ")) for line in remotes})),
        removed=tuple(name for name in _list_changed(workspace, has_commit) if not (workspace / name).exists()),
    )


def list_tracked(workspace: Path) -> set[str]:
    """Return the tracked files of the workspace, relative to it."""
    return set(_split(_run(workspace, "ls-files", "-z")))


def list_changed(workspace: Path, state: GitState) -> list[str]:
    """Return the tracked files that are there and differ from the checked-out commit, relative to the workspace."""
    return [name for name in _list_changed(workspace, bool(state.commit)) if (workspace / name).is_file()]


def list_bundle(workspace: Path, state: GitState | None) -> list[FileSource]:
    """Return the bundle of the repository, named by what is in it; empty: there is no commit."""
    if state is None or not state.commit:
        return []
    name = hashlib.sha256(f"{state.refs} {state.commit}".encode()).hexdigest()
    return [FileSource(f"{PART}/{name}.bundle", workspace, fetch=partial(write_bundle, workspace), is_constant=True)]


def write_bundle(workspace: Path, path: Path) -> None:
    """Write all commits of all branches and tags into a file. Raises WorkspaceError: git fails."""
    _run(workspace, "bundle", "create", "--quiet", str(path), "--all", "HEAD")


def restore_repository(bundle: Path | None, state: GitState, folder: Path) -> None:
    """Make the repository in an empty folder, with the same branch or commit checked out. Raises WorkspaceError."""
    _run(folder, "init", "-q")
    if bundle is None:
        if state.branch:
            _run(folder, "symbolic-ref", "HEAD", state.branch)
        return
    _run(folder, "bundle", "verify", "-q", str(bundle))
    _run(folder, "fetch", "-q", "--no-tags", "--update-head-ok", str(bundle), "+refs/*:refs/*", "HEAD")
    if state.branch:
        _run(folder, "symbolic-ref", "HEAD", state.branch)
        _run(folder, "reset", "-q", "--hard", state.commit)
    else:
        _run(folder, "checkout", "-q", "--detach", state.commit)


def _list_changed(workspace: Path, has_commit: bool) -> list[str]:
    if not has_commit:
        return _split(_run(workspace, "ls-files", "-z"))
    return _split(_run(workspace, "diff", "-z", "--name-only", "--relative", "--no-renames", "HEAD", "--", "."))


def _split(text: str) -> list[str]:
    return [name for name in text.split("\0") if name]


def _run(folder: Path, *arguments: str) -> str:
    done = _call(folder, *arguments)
    if done.returncode:
        got = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise WorkspaceError(f"`git {arguments[0]}` to work in {folder}", got, "solve git's problem, then run again")
    return done.stdout


def _call(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, errors="surrogateescape", check=False
        )
    except FileNotFoundError:
        raise WorkspaceError("git", "no git on PATH", "install it (Debian: apt-get install git)") from None
