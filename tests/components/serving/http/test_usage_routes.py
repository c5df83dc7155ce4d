"""GET /v1/usage: an admin sees all tenants, a tenant itself; and requests are counted and refused as they should."""

import asyncio
from datetime import timedelta

import pytest

from components.rollout.store.usage import Usage, UsageKey, add_served
from components.usage.periods import get_today, to_day

PROMPT = {"model": "alder", "prompt": "thing: boat", "max_tokens": 4}
PRICES = {"currency": "EUR", "thousand_requests": 1000}


async def use(client, service, **values):
    answer = await client.post("/v1/completions", json={**PROMPT, **values})
    await service.usage_buffer.flush()
    return answer


def test_answered_requests_are_counted_with_their_tokens_and_device_time(ask, fleet):
    fleet.set_params(prices=PRICES)

    async def talk(client, service):
        await use(client, service)
        await use(client, service, model="alder@1", stream=True)
        fleet.engine.device_seconds = {"alder": 0.5}
        await use(client, service, max_tokens=100_000)  # 400
        return (await client.get("/v1/usage")).json()

    listed = ask(talk)
    assert not listed["has_more"]
    assert listed["data"] == [
        {
            "id": f"alder/{get_today().replace(day=1)}..{get_today()}",
            "tenant": "alder",
            "period": f"{get_today().replace(day=1)}..{get_today()}",
            "requests": 2,
            "input_tokens": 6,
            "output_tokens": 8,
            "serving_device_seconds": 0.5,
            "training_tokens": 0,
            "training_device_seconds": 0.0,
            "stored_bytes": 0,
            "stored_gb_months": 0.0,
            "cost": "2.0000",
            "currency": "EUR",
        }
    ]


@pytest.mark.parametrize("words_ahead", [0, 3])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_disconnects_pays_for_what_was_generated(ask, fleet, stream, words_ahead):
    """Also for what the engine has not delivered: an answer that is not streamed comes in parts of several tokens."""

    async def talk(client, service):
        fleet.engine.may_go_on.clear()
        fleet.engine.words_ahead = words_ahead
        waiting = asyncio.create_task(client.post("/v1/completions", json={**PROMPT, "stream": stream}))
        async with asyncio.timeout(60):
            while not fleet.engine.requests:
                await asyncio.sleep(0.001)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        fleet.engine.may_go_on.set()
        await service.usage_buffer.flush()
        counted = service.metrics.registry.get_sample_value(
            "prefixfleet_completion_tokens_total", {"tenant": "alder", "arm": "champion"}
        )
        assert counted == words_ahead
        return (await client.get("/v1/usage")).json()["data"]

    listed = [(one["requests"], one["input_tokens"], one["output_tokens"]) for one in ask(talk)]
    assert listed == ([(1, 3, words_ahead)] if words_ahead else [])


def fill(service):
    today = to_day(get_today())
    keys = [UsageKey(tenant, today - back) for tenant in ("alder", "birch") for back in (40, 1, 0)]
    add_served(service.database, "one", 1, {key: Usage(requests=1) for key in keys})


def test_a_tenant_s_key_sees_its_own_tenant_and_an_admin_s_all(ask):
    async def talk(client, service):
        fill(service)
        _, own = service.keys.create("alder")
        _, admin = service.keys.create(None)
        found = []
        for key, query in (
            (own, ""),
            (admin, ""),
            (admin, "&tenant=birch"),
            (own, "&tenant=alder"),
            (own, "&tenant=birch"),
        ):
            since = get_today() - timedelta(days=50)
            answer = await client.get(f"/v1/usage?since={since}{query}", headers={"authorization": f"Bearer {key}"})
            found.append([one["tenant"] for one in answer.json()["data"]] if answer.is_success else answer.status_code)
        found.append((await client.get("/v1/usage")).status_code)
        return found

    assert ask(talk, is_open=False) == [["alder"], ["alder", "birch"], ["birch"], ["alder"], 404, 401]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 6, 7])
def test_days_are_listed_in_pages(ask, limit):
    async def talk(client, service):
        fill(service)
        listed, after = [], ""
        while True:
            since = get_today() - timedelta(days=40)
            answer = await client.get(f"/v1/usage?by=day&limit={limit}&since={since}{after}")
            page = answer.json()
            listed += [one["id"] for one in page["data"]]
            after = f"&after={page['last_id']}"
            if not page["has_more"]:
                return listed

    days = [str(get_today() - timedelta(days=back)) for back in (40, 1, 0)]
    assert ask(talk) == [f"{tenant}/{day}" for tenant in ("alder", "birch") for day in days]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("by=week", "by: 'day', 'month' or 'tenant'"),
        ("since=yesterday", "since: "),
        ("since=2999-01-01", "has begun by today"),
        ("until=1999-01-01&since=2000-01-01", "not before since"),
        ("limit=0", "limit: "),
        ("after=nobody", "after: the id of an item"),
        ("form=2026-01-01", "unknown key 'form'"),
        ("tenant=Not_A_Tenant", "tenant"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(ask, query, words):
    async def talk(client, _):
        return await client.get(f"/v1/usage?{query}")

    answer = ask(talk)
    assert answer.status_code in (400, 404)
    assert words in answer.json()["error"]["message"]


def test_requests_beyond_a_budget_are_refused_in_openai_s_shape(ask, fleet):
    fleet.set_params(prices=PRICES, budget={"month": 1, "action": "throttle"})

    async def talk(client, service):
        answers = [await use(client, service)]
        service.budget_gate.forget("alder")  # as if some seconds had passed
        answers += [await use(client, service), await use(client, service, model="birch")]
        return answers

    first, refused, other = ask(talk)
    assert (first.status_code, refused.status_code, other.status_code) == (200, 429, 200)
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
    assert "alder has spent 1.0000 EUR of its budget of 1.00 EUR" in error["message"]
    assert refused.headers["x-should-retry"] == "false"
    assert "retry-after" not in refused.headers
