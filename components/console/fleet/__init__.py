"""The fleet as the first page shows it: facts of every tenant, read again while somebody looks."""
