"""The list of forgotten tenants beside the backups: a restore removes them again, since backups still have them.

The list is written from the ledger, by every backup and by every `forget`. Does not know what a backup holds.
"""

import json
from collections.abc import Iterable

from components.errors import PrefixFleetError
from components.rollout.store.ledger import read_history, read_newest
from components.stages.progress import log_warning
from components.stages.workspace import Workspace
from components.storage.backups.store import BackupStore, open_backups
from components.storage.database import Database

BACKUP_DIGESTS = "backup/digests"
"""In var/: remembered digests of the files that backups read; its text names tenants."""
_NAME = "forgotten"


def note_forgotten(workspace: Workspace) -> None:
    """Write the list beside the backups of the section `backup`, if it names a target; a failure is only a warning."""
    target = workspace.params.backup.target
    if target is None:
        return
    try:
        write_forgotten(open_backups(target), workspace.database)
    except PrefixFleetError as problem:
        log_warning(f"not noted beside the backups; the next backup notes it: {problem}")


def write_forgotten(store: BackupStore, database: Database) -> None:
    """Add the ledger's forgotten tenants to the list.

    Raises:
        BackupError: the list there is damaged.
        WorkersError, WorkspaceError: the store or the database fails.
    """
    known = _read(store)
    newest = read_newest(database, ["forget"])
    wanted = known | {(tenant, entry.at) for tenant, entry in newest.items()}
    if wanted != known:
        rows = [{"tenant": tenant, "at": at} for tenant, at in sorted(wanted)]
        store.write_value(_NAME, json.dumps(rows, indent=1).encode())


def find_forgotten_since(store: BackupStore, database: Database) -> list[str]:
    """Return the tenants of the list whose `forget` a restored ledger does not have, sorted.

    Raises:
        BackupError, WorkersError, WorkspaceError: as above.
    """
    own = {(entry.tenant, entry.at) for entry in read_history(database) if entry.action == "forget"}
    return sorted({tenant for tenant, _ in _read(store) - own})


def _read(store: BackupStore) -> set[tuple[str, str]]:
    rows: Iterable[dict[str, str]] = store.read_value(_NAME) or []
    return {(row["tenant"], row["at"]) for row in rows}
