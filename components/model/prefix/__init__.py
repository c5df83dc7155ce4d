"""Prefixes: trained keys and values, their trainable form, and how they are attached to a base."""
