"""Files and databases, for every part above: atomic writes, locks, database connections. Knows no domain."""
