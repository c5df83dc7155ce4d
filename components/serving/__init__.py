"""Answer for all tenants from one base, each row of a batch under its own prefix."""
