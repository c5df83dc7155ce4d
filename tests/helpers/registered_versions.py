"""Registers versions of small artifacts, and counts the calls of MLflow's client."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from components.registry.registry import Registry, RunLog, Version


def open_mlflow(registry: Registry) -> MlflowClient:
    """Return MLflow's own client of a registry."""
    return MlflowClient(tracking_uri=registry.uri, registry_uri=registry.uri)


def add_version(
    registry: Registry, save: Callable[..., Any], folder: Path, tenant: str = "acme", **changes: Any
) -> Version:
    """Save an artifact with these changes and register it as accepted."""
    save(folder / tenant, tenant=tenant, **changes)
    return registry.register(tenant, folder / tenant, "base", {"verdict": "accepted"}, RunLog(metrics={"bleu": 61.5}))


def record_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which the name of every later reading call of MLflow's client is added."""
    calls: list[str] = []
    for name in ("search_registered_models", "search_model_versions", "get_model_version", "get_registered_model"):
        real = getattr(MlflowClient, name)

        def recorded(*args: Any, _real: Any = real, _name: str = name, **kwargs: Any) -> Any:
            calls.append(_name)
            return _real(*args, **kwargs)

        monkeypatch.setattr(MlflowClient, name, recorded)
    return calls
