"""The artifacts of an engine: files on disk, and caches in host and device memory."""
