"""The code that the benchmarks share: timing, bases, examples, requests and servers."""
