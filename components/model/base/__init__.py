"""The frozen base: loading, content digests, and where and how its layers attend."""
