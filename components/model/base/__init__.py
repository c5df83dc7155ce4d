"""The frozen base: loading, content digests, and where and how its layers attend."""

from components.model.base.load import load_base

__all__ = ["load_base"]
"""Models registered in MLflow bring their code with them, and it imports `load_base` from here: this name stays."""
