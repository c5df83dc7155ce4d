"""Which workspace this is: an id in var/workspace.json, with the folder in which it was last opened.

The id marks what the workspace writes to a store that several workspaces may share. A moved workspace keeps its id. A
copy whose original is still on this machine gets a new one. Does not know what is marked.
"""

import getpass
import json
import secrets
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.errors import WorkspaceError
from components.storage.atomic_files import hold_file_lock, write_atomic

IDENTITY_FILE = "var/workspace.json"

_LOCK_FILE = "var/workspace.lock"
_LOCK_WAIT_S = 10.0
_EXPERIMENTS = (".dvc", "tmp", "exps")
_FIX = (
    "restore the file from a backup; or delete it: the workspace then gets a new id, and `prefixfleet adopt TENANT` "
    "takes each of its tenants over"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceIdentity:
    """One workspace."""

    id: str
    folder: str
    """The folder that holds the file, without symbolic links."""
    made_at: str
    """UTC."""
    copied_from_id: str = ""
    """Id of the workspace that this one is a copy of; "": it is no copy."""
    copied_from_folder: str = ""
    """Folder of that workspace's file."""

    @property
    def has_living_original(self) -> bool:
        """Whether this is a copy, and the workspace that it was copied from is still on this machine."""
        folder = Path(self.copied_from_folder) if self.copied_from_id else None
        return folder is not None and _read_id(folder / Path(IDENTITY_FILE).name) == self.copied_from_id


def open_identity(root: Path) -> WorkspaceIdentity:
    """Return the identity of the workspace, which is made or corrected first if needed.

    DVC runs queued experiments in a folder of the workspace; they have the workspace's identity.
    On a disk that refuses to be written the identity is returned, but not saved.

    Raises:
        WorkspaceError: the file is not valid.
    """
    if root.parts[-4:-1] == _EXPERIMENTS:
        root = root.parents[len(_EXPERIMENTS)]
    path = root / IDENTITY_FILE
    found, current = _read_and_correct(path)
    if found == current:
        return current
    with suppress(WorkspaceError), hold_file_lock(root / _LOCK_FILE, path, "try again", wait_s=_LOCK_WAIT_S):
        found, current = _read_and_correct(path)
        if found != current:
            write_atomic(path, (json.dumps(asdict(current), indent=2) + "\n").encode())
    return current


def describe_author(root: Path) -> str:
    """Return the user, the host, the workspace's folder and the time, for marks that people read."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no name for this user id, as in many containers
        user = "unknown"
    return f"{user}@{socket.gethostname()} in {root} at {datetime.now(UTC).isoformat(timespec='seconds')}"


def _read_and_correct(path: Path) -> tuple[WorkspaceIdentity | None, WorkspaceIdentity]:
    """Return the identity in the file (None: there is no file), and the identity that should be there."""
    folder, now = str(path.parent.resolve()), datetime.now(UTC).isoformat(timespec="seconds")
    found = _read(path)
    if found is None:
        return None, WorkspaceIdentity(id=secrets.token_hex(8), folder=folder, made_at=now)
    if found.folder == folder:
        return found, found
    former = Path(found.folder) / path.name
    if _read_id(former) == found.id and not former.samefile(path):
        copy = WorkspaceIdentity(
            id=secrets.token_hex(8),
            folder=folder,
            made_at=now,
            copied_from_id=found.id,
            copied_from_folder=found.folder,
        )
        return found, copy
    return found, replace(found, folder=folder)


def _read(path: Path) -> WorkspaceIdentity | None:
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        identity = WorkspaceIdentity(**values)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError) as problem:
        raise WorkspaceError("the identity of this workspace", f"{path}: {problem}", _FIX) from None
    if not all(isinstance(value, str) for value in asdict(identity).values()) or not identity.id:
        raise WorkspaceError("the identity of this workspace", f"{path}: a field that is no text", _FIX)
    return identity


def _read_id(path: Path) -> str | None:
    """Return the id in another workspace's file; None if there is none or it cannot be read."""
    with suppress(WorkspaceError):
        identity = _read(path)
        return identity.id if identity else None
    return None
