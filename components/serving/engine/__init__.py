"""Continuous batching: rows of many tenants enter and leave one batch at every step."""

from components.serving.engine.engine import BatchEngine, EngineLimits

__all__ = ["BatchEngine", "EngineLimits"]
