"""What the training benchmarks share: the two sides, the bases and examples they train on, and fair timing."""
