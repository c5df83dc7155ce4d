"""Removes a tenant's rows from all tables of the rollout's database but the ledger."""

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.rollout.store.deliveries import delete_deliveries_naming
from components.rollout.store.tables import LEDGER
from components.storage.database import Database

_TABLE_PREFIX = LEDGER.name.removesuffix("ledger")


def remove_rows(database: Database, tenant: str) -> None:
    """Delete a tenant's rows, including API keys and feedback, and free their space on disk. Raises WorkspaceError."""
    with database.transaction(f"to delete the rows of {tenant}") as connection:
        for table in _find_tenant_tables(connection):
            connection.execute(sql.delete(table).where(table.c.tenant == tenant))
        delete_deliveries_naming(connection, tenant)
    if database.engine.dialect.name == "sqlite":
        with database.connect("to overwrite deleted rows on disk") as connection:
            connection.exec_driver_sql("VACUUM")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def list_remaining_rows(database: Database, tenant: str) -> list[str]:
    """Return the tables that still have rows of a tenant, each in words. Raises WorkspaceError."""
    remaining = []
    with database.connect(f"the remaining rows of {tenant}") as connection:
        for table in _find_tenant_tables(connection):
            count = sql.select(sql.func.count()).select_from(table).where(table.c.tenant == tenant)
            if rows := connection.execute(count).scalar():
                remaining.append(f"{rows} rows of {table.name}")
    return remaining


def _find_tenant_tables(connection: Connection) -> list[sql.Table]:
    """Return PrefixFleet's tables with a column `tenant`, also those that other parts made, without the ledger."""
    names = [name for name in sql.inspect(connection).get_table_names() if name.startswith(_TABLE_PREFIX)]
    tables = [sql.Table(name, sql.MetaData(), autoload_with=connection) for name in sorted(names)]
    return [table for table in tables if "tenant" in table.c and table.name != LEDGER.name]
