"""Search of a tenant's training values by validation score."""
