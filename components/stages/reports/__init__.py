"""Reports of a run: the table of results, the status of every tenant, charts."""
