"""The `prefixfleet` command: thin commands over the stages and the flows."""
