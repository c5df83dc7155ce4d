"""A request keeps its version, and its tenant's settings decide what is logged and counted."""

import asyncio
import json

import pytest

from components.registry.mlflow.versions import CHALLENGER, CHAMPION

PROMPT = {"model": "alder", "prompt": "thing: boat"}


async def wait_until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


def test_a_request_in_flight_finishes_with_its_version(ask, fleet):
    async def talk(client, service):
        fleet.engine.may_go_on.clear()
        slow = asyncio.create_task(client.post("/v1/completions", json=PROMPT))
        await wait_until(lambda: fleet.engine.requests)
        fleet.registry.register("alder", 7, CHAMPION)
        await service.fleet.refresh()
        new = asyncio.create_task(client.post("/v1/completions", json=PROMPT))
        await wait_until(lambda: len(fleet.engine.requests) == 2)
        fleet.engine.may_go_on.set()
        return await asyncio.gather(slow, new)

    slow, new = ask(talk)
    assert [(answer.status_code, answer.headers["x-prefixfleet-version"]) for answer in (slow, new)] == [
        (200, "1"),
        (200, "2"),
    ]
    assert slow.headers["x-prefixfleet-artifact"] != new.headers["x-prefixfleet-artifact"]
    assert slow.json()["choices"][0]["text"] != new.json()["choices"][0]["text"]


def test_a_shadow_answers_once_no_row_is_queued_and_is_compared(ask, fleet, start_trial, observe):
    fleet.registry.register("alder", 1, CHALLENGER)  # the same seed: the same text

    async def talk(client, service):
        await start_trial(service, shadow=True)
        working = asyncio.create_task(service.shadow_queue.run_forever())
        fleet.engine.queued = 1
        answer = await client.post("/v1/completions", json=PROMPT)
        await asyncio.sleep(0.1)
        rows_while_queued = len(fleet.engine.requests)
        fleet.engine.queued = 0
        answered = ("prefixfleet_shadows_total", {"fate": "answered"})
        await wait_until(lambda: service.metrics.registry.get_sample_value(*answered))
        working.cancel()
        return answer, rows_while_queued, await observe(service)

    answer, rows_while_queued, observations = ask(talk)
    assert answer.headers["x-prefixfleet-version"] == "1"
    assert rows_while_queued == 1
    counts = {one.arm: (one.version, one.requests, one.agreed) for one in observations}
    assert counts == {"champion": ("1", 1, 0), "challenger": ("2", 1, 1)}


@pytest.mark.parametrize(("tokens", "over_long"), [({"max_tokens": 1}, 0), ({}, 1)])
def test_an_answer_that_was_cut_at_the_requests_own_limit_is_not_over_long(ask, observe, tokens, over_long):
    async def talk(client, service):
        await client.post("/v1/completions", json={**PROMPT, **tokens})
        return await observe(service)

    (one,) = ask(talk)
    assert (one.requests, one.over_long) == (1, over_long)


@pytest.mark.parametrize("log_texts", [False, True])
def test_texts_are_logged_only_if_the_tenant_permits_it(ask, fleet, caplog, log_texts):
    fleet.set_params(tenants={"alder": {"access": {"log_texts": log_texts}}})

    async def talk(client, _service):
        with caplog.at_level("INFO", "prefixfleet.serving"):
            for model in ("alder", "birch"):
                answer = await client.post("/v1/completions", json={"model": model, "prompt": f"secret of {model}"})
                assert answer.status_code == 200

    ask(talk)
    messages = [record.message for record in caplog.records if record.name == "prefixfleet.serving"]
    lines = [json.loads(message) for message in messages if message.startswith("{")]
    assert [line["tenant"] for line in lines] == ["alder", "birch"]
    assert ("secret of alder" in caplog.text) is log_texts
    assert "secret of birch" not in caplog.text
