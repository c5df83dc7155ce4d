"""Artifacts near the base: files on disk, and a cache by size on the host and the device."""
