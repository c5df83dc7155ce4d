from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from components.registry.manifest import Manifest
from components.registry.mlflow.alias_table import READ_TAGS
from components.registry.mlflow.versions import find_aliased
from components.registry.registry import CHALLENGER, CHAMPION, Registry, RunLog, Version


def only_read_tags(version: Version, alias: str) -> Version:
    tags = {key: value for key, value in version.tags.items() if key in READ_TAGS}
    return replace(version, tags=tags, aliases=(alias,), fingerprint="", dataset_version="")


def test_the_tables_are_read_as_mlflow_s_own_search_reads_them(
    registry: Registry, save: Callable[..., Manifest], tmp_path: Path
) -> None:
    assert registry.poll_aliased(CHAMPION, CHALLENGER) == {CHAMPION: {}, CHALLENGER: {}}
    for tenant in ("acme", "birch"):
        for fingerprint in "ef":
            save(tmp_path / tenant, tenant=tenant, fingerprint=fingerprint * 64)
            registry.register(tenant, tmp_path / tenant, "base", {"record_form": "key=value key=value"}, RunLog())
    registry.set_alias("acme", CHAMPION, "1")
    registry.set_alias("acme", CHALLENGER, "2")
    registry.set_alias("birch", CHAMPION, "2")
    with registry._connection.open_client("a foreign model") as client:
        client.create_registered_model("foreign")
        client.create_model_version("foreign", "/nowhere", await_creation_for=None)
        client.set_registered_model_alias("foreign", CHAMPION, "1")

    polled = registry.poll_aliased(CHAMPION, CHALLENGER)
    with registry._connection.open_client("MLflow's own search") as client:
        found = find_aliased(client, CHAMPION, CHALLENGER)
    for alias, searched in found.items():
        assert polled[alias] == {tenant: only_read_tags(version, alias) for tenant, version in searched.items()}
    assert polled[CHAMPION]["acme"].version == "1"
    assert polled[CHAMPION]["birch"].tags["record_form"] == "key=value key=value"
    assert list(polled[CHALLENGER]) == ["acme"]

    files = registry.find_local_files(CHAMPION)
    assert sorted(files) == ["acme", "birch"]
    assert all((folder / "prefix.safetensors").is_file() for folder in files.values())
    tagged = registry.poll_aliased(CHAMPION, tags=("fingerprint",))[CHAMPION]["birch"]
    assert (tagged.fingerprint, tagged.tags) == ("f" * 64, {"fingerprint": "f" * 64})
