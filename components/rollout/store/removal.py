"""A tenant's rows in the rollout's database, in whichever of its tables: all go but the ledger's."""

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.rollout.store.tables import LEDGER
from components.storage.database import Database

_TABLE_PREFIX = LEDGER.name.removesuffix("ledger")


def remove_rows(database: Database, tenant: str) -> None:
    """Delete them, keys and feedback too, and give their place on the disk back. Raises WorkspaceError."""
    with database.transaction(f"to remove the rows of {tenant}") as connection:
        for table in _find_tenant_tables(connection):
            connection.execute(sql.delete(table).where(table.c.tenant == tenant))
    if database.engine.dialect.name == "sqlite":
        with database.connect("to overwrite what was removed") as connection:
            connection.exec_driver_sql("VACUUM")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def list_remaining_rows(database: Database, tenant: str) -> list[str]:
    """The tables that still hold rows of a tenant, each in words. Raises WorkspaceError."""
    left = []
    with database.connect(f"what is left of {tenant}") as connection:
        for table in _find_tenant_tables(connection):
            count = sql.select(sql.func.count()).select_from(table).where(table.c.tenant == tenant)
            if rows := connection.execute(count).scalar():
                left.append(f"{rows} rows of {table.name}")
    return left


def _find_tenant_tables(connection: Connection) -> list[sql.Table]:
    """Every table of ours that names tenants, also those that other parts have made."""
    names = [name for name in sql.inspect(connection).get_table_names() if name.startswith(_TABLE_PREFIX)]
    tables = [sql.Table(name, sql.MetaData(), autoload_with=connection) for name in sorted(names)]
    return [table for table in tables if "tenant" in table.c and table.name != LEDGER.name]
