"""The table of files that clients uploaded for fine-tuning; their content is on disk. Knows no HTTP and no folder."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import sqlalchemy as sql

from components.rollout.store.tuning_tables import TUNING_JOBS, UPLOADED_FILES
from components.storage.database import Database

_OWN = UPLOADED_FILES.c
_USES = (TUNING_JOBS.c.training_file, TUNING_JOBS.c.validation_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedFile:
    """A file that passed its check."""

    id: str
    tenant: str | None
    """The tenant whose key uploaded it; None: an admin key."""
    name: str
    """As the client named it."""
    size_bytes: int
    examples: int
    created_s: float
    """Seconds since 1970."""


def add_file(database: Database, file: UploadedFile, max_files: int) -> bool:
    """Add a file unless its owner has `max_files` already; return whether it was added. Raises WorkspaceError."""
    with database.transaction("to record an uploaded file") as connection:
        count = sql.select(sql.func.count()).where(_is_owner(file.tenant)).select_from(UPLOADED_FILES)
        if connection.execute(count).scalar_one() >= max_files:
            return False
        connection.execute(sql.insert(UPLOADED_FILES), asdict(file))
    return True


def count_files(database: Database, owner: str | None) -> int:
    """Return how many files a tenant (None: the admins) has. Raises WorkspaceError."""
    count = sql.select(sql.func.count()).where(_is_owner(owner)).select_from(UPLOADED_FILES)
    with database.connect("the number of uploaded files") as connection:
        return int(connection.execute(count).scalar_one())


def find_file(database: Database, file_id: str, viewer: str | None) -> UploadedFile | None:
    """Return a file that `viewer` may see: a tenant its own, None (an admin) all. Raises WorkspaceError."""
    found = _read(database, sql.select(UPLOADED_FILES).where(_OWN.id == file_id, *_see(viewer)))
    return found[0] if found else None


def list_files(database: Database, viewer: str | None) -> list[UploadedFile]:
    """Return the files that `viewer` may see, the newest first. Raises WorkspaceError."""
    query = sql.select(UPLOADED_FILES).where(*_see(viewer)).order_by(_OWN.created_s.desc(), _OWN.id)
    return _read(database, query)


def list_admin_files_of(database: Database, tenant: str) -> list[str]:
    """Return the ids of the files that an admin key uploaded and that jobs of this tenant alone used.

    Raises WorkspaceError.
    """
    used = [sql.select(column).where(TUNING_JOBS.c.tenant == tenant) for column in _USES]
    used_by_others = [sql.select(column).where(TUNING_JOBS.c.tenant != tenant) for column in _USES]
    query = sql.select(UPLOADED_FILES).where(
        _is_owner(None),
        sql.or_(*(_OWN.id.in_(ids) for ids in used)),
        *(_OWN.id.not_in(ids) for ids in used_by_others),
    )
    return [file.id for file in _read(database, query)]


def remove_file(database: Database, file_id: str) -> None:
    """Remove a file's row. Raises WorkspaceError."""
    with database.transaction("to remove an uploaded file") as connection:
        connection.execute(sql.delete(UPLOADED_FILES).where(_OWN.id == file_id))


def _is_owner(owner: str | None) -> sql.ColumnElement[bool]:
    return _OWN.tenant.is_(None) if owner is None else _OWN.tenant == owner


def _see(viewer: str | None) -> Sequence[sql.ColumnElement[bool]]:
    return [] if viewer is None else [_OWN.tenant == viewer]


def _read(database: Database, query: "sql.Select[tuple[object, ...]]") -> list[UploadedFile]:
    with database.connect("the uploaded files") as connection:
        return [UploadedFile(**dict(row)) for row in connection.execute(query).mappings()]
