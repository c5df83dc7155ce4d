from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from registered_versions import open_mlflow, record_reads

from components.registry.manifest import Manifest
from components.registry.registry import Registry

Save = Callable[..., Manifest]
Make = Callable[..., Any]


def test_champions_of_a_fleet_are_read_in_few_calls(
    registry: Registry, save: Save, tmp_path: Path, make_prefix: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Champions that are not the newest versions are found too, without one call per tenant."""
    tenants = [f"t{number}" for number in range(8)]
    client = open_mlflow(registry)
    for tenant in tenants:
        for version in ("1", "2"):
            client_tags = {"fingerprint": tenant * 2, "sha256": version * 64}
            if version == "1":
                client.create_registered_model(f"prefix-{tenant}")
            client.create_model_version(f"prefix-{tenant}", f"file:///nowhere/{tenant}", tags=client_tags)
        client.set_registered_model_alias(f"prefix-{tenant}", "champion", "1" if tenant != "t0" else "2")
    client.create_registered_model("prefix-")
    client.create_registered_model("prefix-Not-Ours")
    client.create_registered_model("unrelated")
    monkeypatch.setattr(registry._connection, "read_database", lambda *_: None)  # as for a server
    calls = record_reads(monkeypatch)
    champions = registry.find_champions()
    assert calls == ["search_registered_models", "search_model_versions"]
    assert sorted(champions) == tenants
    assert {tenant: champion.version for tenant, champion in champions.items()} == {
        tenant: "1" if tenant != "t0" else "2" for tenant in tenants
    }
    assert champions["t3"].sha256 == "1" * 64
    assert champions["t3"].fingerprint == "t3t3"


def test_versions_are_found_by_sha256_in_few_calls(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = [f"t{number:02}" for number in range(40)]
    prefixes = {tenant: f"{number:064}" for number, tenant in enumerate(fleet)}
    client = open_mlflow(registry)
    for number, tenant in enumerate(fleet):
        client.create_registered_model(f"prefix-{tenant}")
        for sha256 in [prefixes[tenant], "9" * 64][: 2 if number < 34 else 1]:
            client.create_model_version(f"prefix-{tenant}", "file:///nowhere", tags={"sha256": sha256})
    registry.set_alias("t39", "challenger", "1")
    monkeypatch.setattr(registry._connection, "read_database", lambda *_: None)  # as for a server
    calls = record_reads(monkeypatch)
    found = registry.find_by_sha256({**prefixes, "t38": "8" * 64, "nobody": "1" * 64})
    assert {tenant: (version.version, version.sha256) for tenant, version in found.items()} == {
        tenant: ("1", prefixes[tenant]) for tenant in fleet if tenant != "t38"
    }
    assert found["t39"].aliases == ("challenger",)
    assert sorted(calls) == ["search_model_versions"] * 2 + ["search_registered_models"]
