"""Bring a new version to its tenant step by step, and take it back: pure policy, and the ledger of every move."""
