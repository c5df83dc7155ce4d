"""One cycle of the rollout, the transitions of a tenant's versions, and manual commands."""
