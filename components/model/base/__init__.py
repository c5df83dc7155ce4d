"""The frozen base: loading, content digests, the sites and the interface of its attention."""

from components.model.base.load import load_base

__all__ = ["load_base"]
"""Code packaged with registered MLflow models imports `load_base` from here. Keep this name."""
