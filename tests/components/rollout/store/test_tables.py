"""The tables that the code queries are those that the revisions make."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from components.rollout.store.tables import METADATA


def test_the_revisions_make_the_tables_that_the_code_queries(database):
    def is_ours(_object, name, kind, *_):
        return kind != "table" or name in METADATA.tables

    with database.connect("the tables") as connection:
        context = MigrationContext.configure(connection, opts={"include_object": is_ours})
        assert compare_metadata(context, METADATA) == []
