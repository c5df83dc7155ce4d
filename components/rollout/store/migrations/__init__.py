"""Alembic revisions of the rollout's tables, oldest first. A revision that was released never changes.

docs/upgrading.md has the rules for a new one.
"""

from pathlib import Path

from components.storage.migrations import Schema

SCHEMA = Schema(folder=Path(__file__).parent, head="0014", version_table="prefixfleet_alembic_version")
"""MLflow's own revision, in `alembic_version`, may be in the same database."""
