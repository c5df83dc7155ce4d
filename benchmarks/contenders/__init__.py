"""The contenders of the benchmarks: PrefixFleet and other software, each as functions that the harness times."""
