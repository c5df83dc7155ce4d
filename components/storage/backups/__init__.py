"""Backups as objects named by digest, with a manifest each, in a folder or object storage. Knows no domain."""
