"""What a run shows: the table of results, the status of every tenant, charts."""
