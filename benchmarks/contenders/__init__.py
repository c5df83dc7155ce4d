"""What the benchmarks compare: PrefixFleet and its peers, each as work that the harness can time."""
