"""A built server is whole: its parts hear of each other, and its engine loads the base and fetches from MLflow."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from components.config import EvaluateConfig
from components.errors import ArtifactError, RegistryError
from components.model.decoding import Decoding, generate_text
from components.registry.artifact import load_artifact
from components.registry.mlflow.versions import CHAMPION, DECODING_TAG
from components.rollout.store.database import open_database
from components.serving.http.app import build_app
from components.serving.http.build import build_service
from components.serving.interface import ArtifactRef
from components.serving.load_engine import RegistryArtifactSource

JUDGED = EvaluateConfig(max_new_tokens=9, num_beams=3, no_repeat_ngram=2, min_new_tokens=4, banned=["the"])
PROMPT = {"model": "alder", "prompt": "thing: boat"}


def test_nothing_of_a_tenant_without_versions_is_kept_or_written(ask, fleet, observe):
    async def talk(client, service):
        name = (await client.post("/v1/completions", json=PROMPT)).json()["id"]
        fleet.registry.delete_alias("alder", CHAMPION)
        await service.fleet.refresh()
        feedback = await client.post("/v1/feedback", json={"id": name, "rating": 0})
        return feedback.status_code, await observe(service), (await client.get("/metrics")).text

    status, observations, metrics = ask(talk)
    assert (status, observations) == (404, [])
    assert "alder" not in metrics


def test_the_base_is_loaded_from_the_workspace_and_each_version_answers_as_it_was_judged(mlflow_fleet):
    workspace = mlflow_fleet.workspace
    (birch,) = workspace.registry.find_versions("birch")
    workspace.registry.set_tags(birch, {DECODING_TAG: json.dumps(JUDGED.select_decoding())})

    async def talk(service):
        transport = httpx.ASGITransport(build_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            await service.engine.load()
            await service.fleet.refresh()
            answers = [
                await client.post("/v1/completions", json={**PROMPT, "model": name}) for name in ("alder", "birch")
            ]
            await service.engine.drain()
            return answers

    database = open_database(workspace.params.registry, workspace.root)
    try:
        alder, birch = asyncio.run(talk(build_service(workspace, workspace.params, database, allows_anonymous=True)))
    finally:
        database.close()
    assert alder.headers["x-prefixfleet-base"] == workspace.base.digest
    assert (alder.status_code, birch.status_code) == (200, 200)
    assert alder.json()["choices"][0]["text"] != birch.json()["choices"][0]["text"]
    for answer, decoding in ((alder, Decoding(max_new_tokens=6)), (birch, Decoding.from_config(JUDGED))):
        folder = workspace.root / "var" / "prefixes" / answer.headers["x-prefixfleet-artifact"]
        (evaluated,) = generate_text(
            workspace.base, load_artifact(folder, workspace.base)[0], ["thing: boat"], decoding, 1
        )
        assert answer.json()["choices"][0]["text"] == evaluated
    fetched = {folder.name for folder in (workspace.root / "var" / "prefixes").iterdir()}
    assert fetched == {answer.headers["x-prefixfleet-artifact"] for answer in (alder, birch)}


def test_missing_files_are_an_error_of_the_version_and_a_missing_store_one_of_the_registry(
    mlflow_fleet, tmp_path: Path
):
    version = mlflow_fleet.registry.find_champion("birch")
    store = mlflow_fleet.workspace.root / "var/mlflow/artifacts"
    (tensors,) = store.glob(f"**/{version.run_id}/artifacts/model/artifacts/prefix.safetensors")
    source = RegistryArtifactSource(mlflow_fleet.registry)
    artifact = ArtifactRef(version.tenant, version.version, version.sha256)
    for moved, error in ((store, RegistryError), (tensors, ArtifactError)):
        moved.rename(moved.with_name("away"))
        with pytest.raises(error):
            source.fetch(artifact, tmp_path / error.__name__)
        moved.with_name("away").rename(moved)
    assert source.fetch(artifact, tmp_path / "fetched").is_dir()
