"""Which version answers for each tenant, and what serving observes of it."""
