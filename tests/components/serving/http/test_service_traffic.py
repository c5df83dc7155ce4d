"""Requests under way: swaps, trials, callers who leave, and a server that ends."""

import asyncio

from observations import read_observations

from components.errors import RegistryError
from components.registry.mlflow.versions import CHALLENGER, CHAMPION
from components.rollout.store.tenant_state import write_states
from components.rollout.types import RolloutState
from components.serving.http.app import build_app

PROMPT = {"model": "alder", "prompt": "thing: boat"}


def expose(service, share, mode):
    with service.database.transaction("a trial") as connection:
        write_states(connection, [RolloutState(tenant="alder", champion="1", challenger="2", mode=mode, share=share)])


def seen_of(database):
    return read_observations(database, "alder", ["1", "2"], 0, 10**9)


async def until(condition):
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


def test_a_request_in_flight_finishes_on_its_version(ask, fleet):
    async def talk(client, service):
        fleet.engine.may_go_on.clear()
        slow = asyncio.create_task(client.post("/v1/completions", json=PROMPT))
        await until(lambda: fleet.engine.requests)
        fleet.register("alder", 7, CHAMPION)
        await service.fleet.refresh()
        new = asyncio.create_task(client.post("/v1/completions", json=PROMPT))
        await until(lambda: len(fleet.engine.requests) == 2)
        fleet.engine.may_go_on.set()
        return await slow, await new

    slow, new = ask(talk)
    told = [(answer.status_code, answer.headers["x-prefixfleet-version"]) for answer in (slow, new)]
    assert told == [(200, "1"), (200, "2")]
    assert slow.headers["x-prefixfleet-artifact"] != new.headers["x-prefixfleet-artifact"]


def test_a_challenger_that_cannot_be_had_costs_its_callers_nothing(ask, fleet):
    fleet.register("alder", 7, CHALLENGER)

    async def talk(client, service):
        expose(service, 1.0, "canary")
        await service.fleet.refresh()
        good = await client.post("/v1/completions", json=PROMPT)
        fleet.engine.broken.add(fleet.registry.find_challenger("alder").sha256)
        instead = await client.post("/v1/completions", json=PROMPT)
        asked = await client.post("/v1/completions", json={**PROMPT, "model": "alder@challenger"})
        await service.observation_buffer.flush()
        return good, instead, asked, seen_of(service.database)

    good, instead, asked, seen = ask(talk)
    assert [answer.headers.get("x-prefixfleet-arm") for answer in (good, instead)] == ["challenger", "champion"]
    assert (instead.status_code, asked.status_code) == (200, 503)
    counts = {(one.arm, one.version): (one.requests, one.errors) for one in seen}
    assert counts == {("champion", "1"): (1, 0), ("challenger", "2"): (2, 1)}


def test_a_shadow_answers_unseen_when_nobody_waits_and_is_compared(ask, fleet):
    fleet.register("alder", 1, CHALLENGER, mark="a")

    async def talk(client, service):
        expose(service, 1.0, "shadow")
        await service.fleet.refresh()
        working = asyncio.create_task(service.shadow_queue.run_forever())
        fleet.engine.queued = 1
        answer = await client.post("/v1/completions", json=PROMPT)
        await asyncio.sleep(0.1)
        waited = len(fleet.engine.requests)
        fleet.engine.queued = 0
        await until(
            lambda: service.metrics.registry.get_sample_value("prefixfleet_shadows_total", {"fate": "answered"})
        )
        working.cancel()
        await service.observation_buffer.flush()
        return answer, waited, seen_of(service.database)

    answer, waited, seen = ask(talk)
    assert answer.headers["x-prefixfleet-version"] == "1"
    assert waited == 1
    counts = {one.arm: (one.version, one.requests, one.agreed) for one in seen}
    assert counts == {"champion": ("1", 1, 0), "challenger": ("2", 1, 1)}


def test_a_caller_who_leaves_frees_the_row(fleet):
    """Against the application itself, with a caller who hangs up once the row is in the batch."""

    async def main(body):
        fleet.engine.requests.clear()
        fleet.engine.cancelled.clear()
        fleet.engine.may_go_on.clear()
        with fleet.serving() as service:
            await fleet.load(service)

            incoming = asyncio.Queue()
            incoming.put_nowait({"type": "http.request", "body": body, "more_body": False})
            headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
            scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": headers}
            scope |= {"query_string": b"", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1"}

            async def send(_message):
                pass

            asking = asyncio.create_task(build_app(service)(scope, incoming.get, send))
            await until(lambda: fleet.engine.requests)
            assert service.in_flight == 1
            incoming.put_nowait({"type": "http.disconnect"})
            await asyncio.wait_for(asking, 5)
            assert service.in_flight == 0
            assert fleet.engine.cancelled
            assert service.metrics.registry.get_sample_value("prefixfleet_disconnects_total") == 1
            assert service.quotas is not None

    for body in (b'{"model":"alder","prompt":"x"}', b'{"model":"alder","prompt":"x","stream":true}'):
        asyncio.run(main(body))


def test_a_server_that_ends_or_still_loads_says_so(ask, fleet):
    async def loading(client, service):
        early = [await client.get("/readyz"), await client.post("/v1/completions", json=PROMPT)]
        assert (await client.get("/healthz")).json()["ready"] is False
        await fleet.load(service)
        ready = await client.get("/readyz")
        service.start_draining()
        late = [await client.get("/readyz"), await client.post("/v1/completions", json=PROMPT)]
        return early, ready, late

    early, ready, late = ask(loading, loaded=False)
    assert [answer.status_code for answer in early] == [503, 503]
    assert early[1].headers["retry-after"] == "1"
    assert ready.status_code == 200
    assert [answer.status_code for answer in late] == [503, 503]


def test_without_a_registry_it_serves_on_and_says_so(ask, fleet, monkeypatch):
    async def talk(client, service):
        def fail(*_aliases):
            raise RegistryError("every tenant's champion", "no answer", "start MLflow")

        monkeypatch.setattr(fleet.registry, "poll_aliased", fail)
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


def test_too_long_a_body_is_refused_however_it_comes(ask, set_params, fleet):
    async def pieces():
        for _ in range(30):
            yield b"x" * 100_000

    async def talk(client, _service):
        kind = {"content-type": "application/json"}
        told = await client.post("/v1/completions", content=b"x" * 1_000_001, headers=kind)
        untold = await client.post("/v1/completions", content=pieces(), headers=kind)
        return told, untold

    assert [answer.status_code for answer in ask(talk)] == [413, 413]
