"""`make image` and `make check-image`: the container image, built and then run as the manifests run it."""
