"""What goes wrong outside of a version is not counted against it, and a caller's doings are counted once."""

import asyncio

import pytest
from observations import read_observations

from components.errors import DataError, RegistryError
from components.registry.mlflow.versions import CHALLENGER
from components.rollout.store.tenant_state import write_states
from components.rollout.types import RolloutState

PROMPT = {"model": "alder", "prompt": "thing: boat"}


def expose(service, shadow=False):
    mode = "shadow" if shadow else "canary"
    with service.database.transaction("a trial") as connection:
        write_states(connection, [RolloutState(tenant="alder", champion="1", challenger="2", mode=mode, share=1.0)])


async def seen_of(service):
    await service.observation_buffer.flush()
    seen = read_observations(service.database, "alder", ["1", "2"], 0, 2**31 - 1)
    return {(one.arm, one.version): (one.requests, one.errors) for one in seen}


def refuse(fleet, problem):
    """Let the engine refuse alder's challenger so."""
    submit, sha256 = fleet.engine.submit, fleet.registry.find_challenger("alder").sha256

    async def submitted(request):
        if request.artifact.sha256 == sha256:
            raise problem
        return await submit(request)

    fleet.engine.submit = submitted


STORE = RegistryError("an artifact", "no answer from the store", "start it")
LONG = DataError("room for the source beside the prefix", "none", "shorten it")


@pytest.mark.parametrize("shadow", [False, True])
@pytest.mark.parametrize(("problem", "why"), [(STORE, "store"), (LONG, "too long")])
def test_what_the_challenger_cannot_help_is_not_counted_against_it(ask, fleet, shadow, problem, why):
    fleet.register("alder", 7, CHALLENGER)
    refuse(fleet, problem)

    async def talk(client, service):
        expose(service, shadow)
        await service.fleet.refresh()
        working = asyncio.create_task(service.shadow_queue.run_forever())
        answer = await client.post("/v1/completions", json=PROMPT)
        await asyncio.sleep(0.05)
        working.cancel()
        stood_in = service.metrics.registry.get_sample_value(
            "prefixfleet_stood_in_total", {"tenant": "alder", "why": why}
        )
        left_out = service.metrics.registry.get_sample_value("prefixfleet_shadows_total", {"fate": "left out"})
        return answer, await seen_of(service), (stood_in, left_out)

    answer, seen, told = ask(talk)
    assert (answer.status_code, answer.headers["x-prefixfleet-arm"]) == (200, "champion")
    assert seen == {("champion", "1"): (1, 0)}
    assert told == ((None, 1.0) if shadow else (1.0, None))


def test_files_that_are_missing_count_against_a_challenger_and_a_store_that_is_gone_does_not(ask, fleet):
    fleet.register("alder", 7, CHALLENGER)
    version, store = fleet.registry.find_challenger("alder"), fleet.workspace.root / "var/mlflow/artifacts"
    (tensors,) = store.glob(f"**/{version.run_id}/artifacts/model/artifacts/prefix.safetensors")

    async def talk(client, service):
        async def arm():
            return (await client.post("/v1/completions", json=PROMPT)).headers["x-prefixfleet-arm"]

        await client.post("/v1/completions", json={**PROMPT, "model": "alder@champion"})
        expose(service)
        await service.fleet.refresh()
        store.rename(store.with_name("away"))
        gone = await arm(), await seen_of(service)
        store.with_name("away").rename(store)
        tensors.rename(tensors.with_name("away"))
        missing = await arm(), await seen_of(service)
        tensors.with_name("away").rename(tensors)
        return gone, missing, await arm()

    gone, missing, again = ask(talk)
    assert gone == ("champion", {("champion", "1"): (1, 0)})
    assert missing == ("champion", {("champion", "1"): (2, 0), ("challenger", "2"): (1, 1)})
    assert again == "challenger"


def test_the_champion_answers_what_leaves_no_room_beside_a_longer_prefix(ask, fleet):
    fleet.register("alder", 7, CHALLENGER, length=40)

    async def talk(client, service):
        expose(service)
        await service.fleet.refresh()
        base, told = fleet.workspace.base, []
        for length in (base.context - 60, base.context - 20, base.context):
            answer = await client.post("/v1/completions", json={**PROMPT, "prompt": "x" * length, "max_tokens": 1})
            told.append((answer.status_code, answer.headers.get("x-prefixfleet-arm")))
        return told, await seen_of(service)

    told, seen = ask(talk)
    assert told == [(200, "challenger"), (200, "champion"), (400, None)]
    assert seen == {("champion", "1"): (1, 0), ("challenger", "2"): (1, 0)}


def test_a_source_too_long_for_both_is_the_callers_fault_and_so_is_one_for_whom_he_names(ask, fleet):
    fleet.register("alder", 7, CHALLENGER)
    refuse(fleet, LONG)

    async def talk(client, service):
        expose(service)
        await service.fleet.refresh()
        named = await client.post("/v1/completions", json={**PROMPT, "model": "alder@challenger"})

        async def submitted(_request):
            raise LONG

        fleet.engine.submit = submitted
        both = await client.post("/v1/completions", json=PROMPT)
        return named, both, await seen_of(service), (await client.get("/metrics")).text

    named, both, seen, metrics = ask(talk)
    assert (named.status_code, both.status_code, seen) == (400, 400, {})
    assert "prefixfleet_stood_in_total{" not in metrics


def test_the_champion_answers_a_record_in_its_own_form(ask, fleet):
    fleet.register("alder", 7, CHALLENGER, form="key=value; key=value")
    fleet.engine.broken.add(fleet.registry.find_challenger("alder").sha256)

    async def talk(client, service):
        expose(service)
        await service.fleet.refresh()
        return await client.post("/v1/completions", json={"model": "alder", "input": {"a": "b", "c": "d"}})

    assert ask(talk).headers["x-prefixfleet-arm"] == "champion"
    assert [one.source for one in fleet.engine.requests] == ["a : b | c : d"]


def test_an_opinion_counts_once_however_often_it_is_said(ask):
    async def talk(client, service):
        name = (await client.post("/v1/completions", json={**PROMPT, "n": 2})).json()["id"]
        for index in (0, 0, 0, 1):
            said = await client.post("/v1/feedback", json={"id": name, "index": index, "rating": 0})
            assert said.status_code == 200
        return sum(one.disliked for one in read_observations(service.database, "alder", ["1"], 0, 2**31 - 1))

    assert ask(talk) == 2


@pytest.mark.parametrize("lengths", [{}, {"content-length": "5"}])
@pytest.mark.parametrize("coding", ["chunked", "Chunked ", "gzip, chunked"])
def test_no_way_of_sending_escapes_the_limit_on_bodies(ask, coding, lengths):
    async def pieces():
        for _ in range(30):
            yield b"x" * 100_000

    async def talk(client, _service):
        headers = {"content-type": "application/json", "transfer-encoding": coding, **lengths}
        return await client.post("/v1/completions", content=pieces(), headers=headers)

    assert ask(talk).status_code == 413


def test_nothing_of_a_forgotten_tenant_is_kept_or_written(ask, fleet):
    async def talk(client, service):
        name = (await client.post("/v1/completions", json=PROMPT)).json()["id"]
        fleet.registry.delete_alias("alder", "champion")
        await service.fleet.refresh()
        said = await client.post("/v1/feedback", json={"id": name, "rating": 0})
        return said.status_code, await seen_of(service), (await client.get("/metrics")).text

    status, seen, metrics = ask(talk)
    assert (status, seen) == (404, {})
    assert "alder" not in metrics


@pytest.mark.parametrize(("tokens", "over_long"), [({"max_tokens": 1}, 0), ({}, 1)])
def test_an_answer_as_short_as_its_caller_asked_is_not_over_long(ask, fleet, monkeypatch, tokens, over_long):
    monkeypatch.setattr(fleet.engine, "_generate", lambda request: " ".join("x" * request.max_tokens))

    async def talk(client, service):
        await client.post("/v1/completions", json={**PROMPT, **tokens})
        await service.observation_buffer.flush()
        return read_observations(service.database, "alder", ["1"], 0, 2**31 - 1)

    (one,) = ask(talk)
    assert (one.requests, one.over_long) == (1, over_long)
