"""Readiness, health, and the parameters of tenants."""

import asyncio

from components.config import Params
from components.errors import BaseModelError
from components.serving.http.service import make_tenant_params_reader

PROMPT = {"model": "alder", "prompt": "thing: boat"}


def test_a_server_is_ready_once_the_base_is_loaded_and_not_while_it_drains(ask, load):
    async def talk(client, service):
        early = [await client.get("/readyz"), await client.post("/v1/completions", json=PROMPT)]
        assert (await client.get("/healthz")).json()["ready"] is False
        await load(service)
        ready = await client.get("/readyz")
        service.start_draining()
        late = [await client.get("/readyz"), await client.post("/v1/completions", json=PROMPT)]
        return early, ready, late, (await client.get("/healthz")).json()["status"]

    early, ready, late, status = ask(talk, loaded=False)
    assert [answer.status_code for answer in early] == [503, 503]
    assert early[1].headers["retry-after"] == "1"
    assert ready.status_code == 200
    assert [answer.status_code for answer in late] == [503, 503]
    assert status == "draining"


def test_a_server_is_not_ready_before_the_aliases_were_read(ask):
    async def talk(client, service):
        await service.engine.load()
        return await client.get("/readyz"), await client.post("/v1/completions", json=PROMPT)

    answers = ask(talk, loaded=False)
    assert [answer.status_code for answer in answers] == [503, 503]
    assert "registry" in answers[0].json()["error"]["message"]


def test_without_a_registry_it_answers_and_reports_the_registry(ask, fleet):
    async def talk(client, service):
        fleet.registry.fails = True
        await service.fleet.refresh()
        return [
            await client.post("/v1/completions", json=PROMPT),
            await client.get("/healthz"),
            await client.get("/metrics"),
        ]

    answer, health, metrics = ask(talk)
    assert answer.status_code == 200
    assert (health.json()["status"], health.json()["troubles"]) == ("degraded", ["registry"])
    assert "prefixfleet_registry_trouble 1.0" in metrics.text


def test_dropped_observations_are_reported(ask):
    async def talk(client, service):
        service.observation_buffer.dropped, service.observation_buffer.write_error = 3, "no answer"
        return (await client.get("/healthz")).json(), (await client.get("/metrics")).text

    health, metrics = ask(talk)
    assert (health["troubles"], health["observations_dropped"]) == (["observations"], 3)
    assert "prefixfleet_observations_dropped 3.0" in metrics
    assert "prefixfleet_observations_trouble 1.0" in metrics


def test_an_engine_that_cannot_be_loaded_starts_the_draining(fleet):
    def fail():
        raise BaseModelError("a base", "none", "set base.path")

    fleet.load_engine = fail

    async def main():
        with fleet.serving() as service:
            tasks = service.start_background_tasks()
            while service.load_error is None:
                await asyncio.sleep(0.001)
            for task in tasks:
                task.cancel()
            return service.draining and isinstance(service.load_error, BaseModelError)

    assert asyncio.run(asyncio.wait_for(main(), 60))


def test_a_tenants_parameters_are_read_once_with_one_warning_about_answers_that_end_early(caplog):
    tenants = {"alder": {"evaluate": {"max_new_tokens": 40}, "access": {"max_tokens": 20}}}
    get_tenant_params = make_tenant_params_reader(Params.model_validate({"base": {"path": "base"}, "tenants": tenants}))
    assert [get_tenant_params(tenant).access.max_tokens for tenant in ("alder", "alder", "birch")] == [20, 20, 1024]
    (record,) = caplog.records
    assert "alder" in record.getMessage()
    assert "access.max_tokens (20)" in record.getMessage()
