"""If the challenger cannot answer, the champion does; only errors of the version count against it."""

import asyncio

import pytest

from components.errors import ArtifactError, DataError, RegistryError
from components.registry.mlflow.versions import CHALLENGER

PROMPT = {"model": "alder", "prompt": "thing: boat"}
DAMAGED = ArtifactError("an artifact", "a damaged one", "restore it")
STORE = RegistryError("an artifact", "no answer from the store", "start it")
TOO_LONG = DataError("a source that fits beside the prefix", "a longer one", "shorten it")


@pytest.fixture
def challenger(fleet):
    """The sha256 of alder's challenger, its version 2."""
    fleet.registry.register("alder", 7, CHALLENGER)
    return fleet.registry.find_challenger("alder").sha256


async def count(observe, service):
    return {(one.arm, one.version): (one.requests, one.errors) for one in await observe(service)}


def test_a_damaged_challenger_counts_as_failed_and_the_champion_answers(ask, fleet, challenger, start_trial, observe):
    async def talk(client, service):
        await start_trial(service)
        good = await client.post("/v1/completions", json=PROMPT)
        fleet.engine.errors[challenger] = DAMAGED
        fallback = await client.post("/v1/completions", json=PROMPT)
        by_alias = await client.post("/v1/completions", json={**PROMPT, "model": "alder@challenger"})
        return good, fallback, by_alias, await count(observe, service)

    good, fallback, by_alias, counts = ask(talk)
    assert [answer.headers.get("x-prefixfleet-arm") for answer in (good, fallback)] == ["challenger", "champion"]
    assert (fallback.status_code, by_alias.status_code) == (200, 503)
    assert counts == {("champion", "1"): (1, 0), ("challenger", "2"): (2, 1)}


@pytest.mark.parametrize("shadow", [False, True])
@pytest.mark.parametrize(("error", "reason"), [(STORE, "store"), (TOO_LONG, "too long")])
def test_an_error_of_the_store_or_a_long_source_does_not_count_against_the_challenger(
    ask, fleet, challenger, start_trial, observe, shadow, error, reason
):
    fleet.engine.errors[challenger] = error

    async def talk(client, service):
        def read(metric, **labels):
            return service.metrics.registry.get_sample_value(metric, labels)

        await start_trial(service, shadow=shadow)
        working = asyncio.create_task(service.shadow_queue.run_forever())
        answer = await client.post("/v1/completions", json=PROMPT)
        while shadow and not read("prefixfleet_shadows_total", fate="left out"):
            await asyncio.sleep(0.001)
        working.cancel()
        fallbacks = read("prefixfleet_stood_in_total", tenant="alder", why=reason)
        return answer, await count(observe, service), fallbacks

    answer, counts, fallbacks = ask(talk)
    assert (answer.status_code, answer.headers["x-prefixfleet-arm"]) == (200, "champion")
    assert counts == {("champion", "1"): (1, 0)}
    assert fallbacks == (None if shadow else 1.0)


def test_the_champion_answers_a_source_that_is_too_long_beside_the_challengers_prefix(ask, fleet, start_trial, observe):
    fleet.registry.register("alder", 7, CHALLENGER, length=40)

    async def talk(client, service):
        await start_trial(service)
        context, arms = fleet.engine.context, []
        for length in (context - 60, context - 20, context):
            answer = await client.post("/v1/completions", json={**PROMPT, "prompt": "x" * length, "max_tokens": 1})
            arms.append((answer.status_code, answer.headers.get("x-prefixfleet-arm")))
        return arms, await count(observe, service)

    arms, counts = ask(talk)
    assert arms == [(200, "challenger"), (200, "champion"), (400, None)]
    assert counts == {("champion", "1"): (1, 0), ("challenger", "2"): (1, 0)}


def test_a_source_that_is_too_long_for_both_or_for_the_requested_version_is_refused_and_not_counted(
    ask, fleet, challenger, start_trial, observe
):
    fleet.engine.errors[challenger] = TOO_LONG

    async def talk(client, service):
        await start_trial(service)
        by_alias = await client.post("/v1/completions", json={**PROMPT, "model": "alder@challenger"})
        fleet.engine.errors[fleet.registry.find_champion("alder").sha256] = TOO_LONG
        both = await client.post("/v1/completions", json=PROMPT)
        return by_alias, both, await count(observe, service), (await client.get("/metrics")).text

    by_alias, both, counts, metrics = ask(talk)
    assert (by_alias.status_code, both.status_code, counts) == (400, 400, {})
    assert "prefixfleet_stood_in_total{" not in metrics


def test_the_champion_answers_a_record_in_its_own_form(ask, fleet, start_trial):
    fleet.registry.register("alder", 7, CHALLENGER, form="key=value; key=value")
    fleet.engine.errors[fleet.registry.find_challenger("alder").sha256] = DAMAGED

    async def talk(client, service):
        await start_trial(service)
        return await client.post("/v1/completions", json={"model": "alder", "input": {"a": "b", "c": "d"}})

    assert ask(talk).headers["x-prefixfleet-arm"] == "champion"
    assert [one.source for one in fleet.engine.requests] == ["a : b | c : d"]
