"""Pretraining of the built-in base: `make base`."""
