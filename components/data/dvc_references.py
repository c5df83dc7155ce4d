"""Which of DVC's objects a repository refers to: in the work tree now, and in the git commits of the last days.

Reads digests from the texts of `*.dvc` and `dvc.lock`, so that a text which DVC would not read counts too. Knows no
store.
"""

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from components.errors import WorkspaceError

_DIGEST = re.compile(r"\b[0-9a-f]{32}\b(?:\.dir)?")
_SKIPPED_FOLDERS = frozenset({"data", "out", "var", "node_modules"})
_EXPERIMENTS = Path(".dvc", "tmp", "exps")


@dataclass(frozen=True, slots=True)
class References:
    """Digests, with `.dir` at the end for those of listings."""

    needed: frozenset[str]
    """Named now, by the tip of a branch or tag, or by a commit of the last days."""
    known: frozenset[str]
    """Named now, or by any commit."""


def find_references(workspace: Path, since_s: float) -> References:
    """Return the digests in a workspace and in the commits of all branches, tags, stashes and experiments.

    A commit counts as one of the last days if its date is after `since_s`, in seconds since 1970.

    Raises:
        WorkspaceError: git fails.
    """
    present = frozenset(digest for text in _read_files(workspace) for digest in _DIGEST.findall(text))
    if _run_git(workspace, "rev-parse", "--is-inside-work-tree", is_checked=False).strip() != "true":
        return References(present, present)
    tips = set(_run_git(workspace, "for-each-ref", "--format=%(objectname)").split())
    log = _run_git(workspace, "log", "--all", "--reflog", "--format=%H %ct")
    commits = [(commit, int(date)) for commit, date in (line.split() for line in log.splitlines())]
    recent = {commit for commit, date in commits if date >= since_s or commit in tips}
    head = _run_git(workspace, "rev-parse", "-q", "--verify", "HEAD", is_checked=False).strip()
    recent |= {head} - {""}
    blobs = {commit: _list_blobs(workspace, commit) for commit in sorted(recent | tips)}
    needed = present | _read_blobs(workspace, {blob for found in blobs.values() for blob in found})
    changes = _run_git(workspace, "log", "--all", "--reflog", "--format=", "-p", "-m", "--", "*.dvc", "*dvc.lock")
    return References(needed, needed | frozenset(_DIGEST.findall(changes)))


def _read_files(workspace: Path) -> Iterator[str]:
    """Yield the texts of the work tree, and of the copies in which DVC runs experiments."""
    for top, skipped in ((workspace, _SKIPPED_FOLDERS), (workspace / _EXPERIMENTS, frozenset[str]())):
        for folder, folders, files in os.walk(top):
            folders[:] = [name for name in folders if name not in skipped and not name.startswith(".")]
            for name in files:
                if _is_pointer(name):
                    yield Path(folder, name).read_text(encoding="utf-8", errors="replace")


def _is_pointer(name: str) -> bool:
    return name.endswith(".dvc") or name == "dvc.lock"


def _list_blobs(workspace: Path, commit: str) -> set[str]:
    """Return the ids of a commit's files of pointers; of an object that is no commit, such as a tag of a file, none."""
    lines = _run_git(workspace, "ls-tree", "-r", "-z", "--full-tree", commit, is_checked=False).split("\0")
    parts = [line.partition("\t") for line in lines if line]
    return {facts.split()[2] for facts, _, path in parts if _is_pointer(path.rpartition("/")[2])}


def _read_blobs(workspace: Path, blobs: Iterable[str]) -> frozenset[str]:
    texts = _run_git(workspace, "cat-file", "--batch", given="".join(f"{blob}\n" for blob in sorted(blobs)))
    return frozenset(_DIGEST.findall(texts))


def _run_git(workspace: Path, *arguments: str, given: str | None = None, is_checked: bool = True) -> str:
    done = subprocess.run(
        ["git", "-C", str(workspace), *arguments],
        input=given,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode and is_checked:
        fix = "run `git fsck` there, and repair the repository"
        raise WorkspaceError(f"`git {arguments[0]}` to succeed in {workspace}", done.stderr.strip(), fix)
    return done.stdout
