"""Rollout of new versions, step by step, with rollback: a pure policy, and a store with a ledger of every move."""
