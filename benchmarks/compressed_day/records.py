"""What MLflow, the ledger and the database say after a day. Changes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sql

from components.rollout.store.tables import FEEDBACK
from components.rollout.types import LedgerEntry
from components.stages.workspace import Workspace


@dataclass(frozen=True)
class FleetRecords:
    """What MLflow, the ledger and the database say after the day."""

    versions: Mapping[str, Mapping[str, str]]
    """Tenant -> version -> sha256, from MLflow."""
    champions: Mapping[str, str]
    history: Sequence[LedgerEntry]
    feedback: frozenset[tuple[str, str]]
    """Tenant and answer of each row of feedback."""

    def get_moves(self, tenant: str) -> list[LedgerEntry]:
        """Return a tenant's entries of the ledger that moved a version."""
        return [one for one in self.history if one.tenant == tenant and one.to_version != one.from_version]


def read_records(workspace: Workspace) -> FleetRecords:
    """Read them."""
    from components.rollout.store.ledger import read_history

    histories = workspace.registry.find_histories("sha256")
    with workspace.database.connect("the feedback") as connection:
        rows = connection.execute(sql.select(FEEDBACK.c.tenant, FEEDBACK.c.request)).all()
    return FleetRecords(
        {tenant: {one.version: one.sha256 for one in versions} for tenant, versions in histories.items()},
        {tenant: one.version for tenant, one in workspace.registry.find_champions().items()},
        read_history(workspace.database),
        frozenset((row.tenant, row.request) for row in rows),
    )
