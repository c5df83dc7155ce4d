"""Continuous batching: rows of many tenants enter and leave one batch at every step."""

from components.serving.engine.door import BatchEngine, Limits

__all__ = ["BatchEngine", "Limits"]
