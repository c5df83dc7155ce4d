"""Empty schemas of a PostgreSQL server that tests share."""

import secrets

import sqlalchemy as sql


def make_schema(server: str) -> str:
    """Make an empty schema on the server with this URL; return a URL whose tables are in that schema."""
    name = f"test_{secrets.token_hex(4)}"
    engine = sql.create_engine(server)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {name}")
    engine.dispose()
    return f"{server}?options=-csearch_path%3D{name}"
