"""A shard that is trained on another machine: what is asked, sent and brought back. Does not know Prefect."""
