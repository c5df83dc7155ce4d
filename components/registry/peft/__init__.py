"""Prefixes in the file format of the peft library."""
