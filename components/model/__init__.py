"""The frozen base, prefixes and other deltas, how they are applied to the base, and decoding. Knows no data files."""
