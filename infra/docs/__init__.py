"""The documentation as a site: the hooks of mkdocs, and the reference pages that are written from the code."""
