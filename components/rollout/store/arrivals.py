"""What was last seen of each file in a watched folder, and which content of it was taken. Knows no folder."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.rollout.store.tables import ARRIVALS
from components.storage.database import Database


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenFile:
    """One file of a watched folder."""

    modified: str
    """When its content was written, by the store's clock: other content has another time."""
    since_s: float
    """When the watcher first saw this content, in seconds since 1970."""
    taken: str = ""
    """`modified` of the content that was taken; "": none."""

    @property
    def is_new(self) -> bool:
        """Whether its current content has not been taken yet."""
        return self.modified != self.taken


SeenFiles = Mapping[str, Mapping[str, SeenFile]]
"""Tenant -> file's name -> what was seen."""


def read_seen_files(database: Database, source: str) -> dict[str, dict[str, SeenFile]]:
    """Return what was seen in the watched folder `source`. Raises WorkspaceError."""
    files: dict[str, dict[str, SeenFile]] = {}
    with database.connect("the files that arrived") as connection:
        for row in connection.execute(sql.select(ARRIVALS).where(ARRIVALS.c.source == source)):
            seen = SeenFile(modified=row.modified, since_s=row.since_s, taken=row.taken)
            files.setdefault(row.tenant, {})[row.name] = seen
    return files


def write_seen_files(
    connection: Connection, source: str, tenant: str, files: Mapping[str, SeenFile], before: Mapping[str, SeenFile]
) -> None:
    """Replace what was seen of one tenant, `before`, within a transaction; unchanged rows are not touched."""
    gone = [name for name, one in before.items() if files.get(name) != one]
    added = [
        {"tenant": tenant, "source": source, "name": name, **asdict(one)}
        for name, one in files.items()
        if before.get(name) != one
    ]
    if gone:
        which = (ARRIVALS.c.tenant == tenant, ARRIVALS.c.source == source, ARRIVALS.c.name.in_(gone))
        connection.execute(sql.delete(ARRIVALS).where(*which))
    if added:
        connection.execute(sql.insert(ARRIVALS), added)
