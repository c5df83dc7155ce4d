"""Reading MLflow's tables gives what MLflow's own search gives, for every way to look for versions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.registry.manifest import Manifest
from components.registry.mlflow import table_versions, versions
from components.registry.registry import CHALLENGER, CHAMPION, Registry, RunLog

TENANTS = ("acme", "birch", "cedar")


@pytest.fixture
def fleet(
    registry: Registry, save: Callable[..., Manifest], make_prefix: Callable[..., Any], tmp_path: Path
) -> Registry:
    """acme: champion 1, challenger 2 and a deleted version 3; birch: one version as both; cedar: no alias.

    Beside them a model of somebody else, and one whose name is none of a tenant's.
    """
    for number, (tenant, seed) in enumerate([("acme", 0), ("acme", 1), ("acme", 2), ("birch", 0), ("cedar", 0)]):
        save(tmp_path / f"{number}", make_prefix(seed=seed), tenant=tenant, fingerprint=f"{seed}" * 64)
        registry.register(tenant, tmp_path / f"{number}", "base", {"note": "ä 100%_"}, RunLog(metrics={"bleu": 1.5}))
    registry.set_alias("acme", CHAMPION, "1")
    for alias in (CHAMPION, CHALLENGER):
        registry.set_alias("birch", alias, "1")
    registry.set_alias("acme", CHALLENGER, "2")
    with registry._connection.open_client("models of others, and a deleted version") as client:
        client.delete_model_version("prefix-acme", "3")
        for name in ("foreign", "prefix-Not_A_Tenant"):
            client.create_registered_model(name)
            client.create_model_version(name, "/nowhere", await_creation_for=None)
            client.set_registered_model_alias(name, CHAMPION, "1")
    return registry


def read_both(fleet: Registry, name: str, *arguments: Any) -> tuple[Any, Any]:
    """The answer from the tables and the one from MLflow."""
    read = getattr(table_versions, name)
    answers = fleet._connection.read_database("tables", lambda connection: [read(connection, *arguments)])
    assert answers is not None
    with fleet._connection.open_client("MLflow") as client:
        return answers[0], getattr(versions, name)(client, *arguments)


def test_versions_with_aliases_are_those_that_mlflow_finds(fleet: Registry) -> None:
    tables, mlflow = read_both(fleet, "find_aliased", CHAMPION, CHALLENGER)
    assert tables == mlflow
    assert {alias: sorted(found) for alias, found in tables.items()} == {
        CHAMPION: ["acme", "birch"],
        CHALLENGER: ["acme", "birch"],
    }
    assert tables[CHAMPION]["birch"].aliases == (CHALLENGER, CHAMPION)
    assert tables[CHAMPION]["acme"].tags["note"] == "ä 100%_"


@pytest.mark.parametrize("tenant", [*TENANTS, "nobody"])
def test_one_tenant_s_versions_and_aliases_are_those_that_mlflow_finds(fleet: Registry, tenant: str) -> None:
    for name in ("find_versions", "find_aliases", "find_aliased_of_tenant"):
        tables, mlflow = read_both(fleet, name, tenant)
        assert tables == mlflow
    for alias in (CHAMPION, CHALLENGER, "other"):
        tables, mlflow = read_both(fleet, "find_by_alias", tenant, alias)
        assert tables == mlflow


def test_a_deleted_version_is_not_found(fleet: Registry) -> None:
    assert [one.version for one in fleet.find_versions("acme")] == ["2", "1"]


def test_digests_are_those_that_mlflow_finds(fleet: Registry) -> None:
    tables, mlflow = read_both(fleet, "find_sha256s", [*TENANTS, "nobody"])
    assert tables == mlflow
    assert len(tables["acme"]) == 2
    older = fleet.find_versions("acme")[1]
    wanted = {"acme": older.sha256, "birch": "0" * 64, "nobody": older.sha256}
    tables, mlflow = read_both(fleet, "find_by_sha256", wanted)
    assert tables == mlflow == {"acme": older}


def test_more_versions_than_fit_in_one_query_are_found(fleet: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_versions, "_PAIRS_PER_QUERY", 1)
    monkeypatch.setattr(table_versions, "_NAMES_PER_QUERY", 1)
    wanted = {tenant: fleet.find_versions(tenant)[0].sha256 for tenant in TENANTS}
    assert fleet.find_by_sha256(wanted) == {tenant: fleet.find_versions(tenant)[0] for tenant in TENANTS}


def test_histories_have_all_versions_of_all_tenants_oldest_first(fleet: Registry) -> None:
    tables, mlflow = read_both(fleet, "find_histories", "metric.bleu", "sha256")
    assert tables == mlflow
    assert {tenant: [one.version for one in own] for tenant, own in tables.items()} == {
        "acme": ["1", "2"],
        "birch": ["1"],
        "cedar": ["1"],
    }
    newest = tables["acme"][-1]
    assert set(newest.tags) == {"metric.bleu", "sha256"}
    assert newest.sha256 == newest.tags["sha256"]
    assert newest.created_s == mlflow["acme"][-1].created_s > 0
