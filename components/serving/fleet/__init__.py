"""Choose the version that answers for a tenant, and record what serving observes of it."""
