"""Says of a base, before any tenant is trained, what works on it, what it takes, and how a trial goes."""
