"""Backups of a fleet: what is copied and in which order, and how it is restored. Above the workspace's other parts."""
