"""Training prefixes, and other methods' weights, on a frozen base. Does not know trackers or data files."""
