"""What the benchmarks share: how they time, and the bases, examples, requests and servers they use."""
