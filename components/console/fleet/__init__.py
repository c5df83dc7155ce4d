"""The fleet as the start page shows it: facts of every tenant, read again while a page is open."""
