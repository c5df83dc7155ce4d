"""`make sbom`, `make audit` and `make licences`: the packages that the product runs with."""
