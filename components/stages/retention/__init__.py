"""Removal of old versions and runs; see docs/retention.md."""
