"""Data: schema and checks, importers, dataset versions, digests and fingerprints, tokens and batches.

Knows no model and no training. Import from the modules: this file imports nothing, so that commands start quickly.
"""
