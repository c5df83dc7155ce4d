"""A key grants its tenant; all other tenants look as if they did not exist."""

import pytest

PROMPT = {"model": "alder", "prompt": "thing: boat"}


def bearer(text):
    return {"authorization": f"Bearer {text}"}


def test_a_key_cannot_tell_another_tenant_from_an_unknown_one(ask, fleet):
    fleet.registry.register("birch", 5, "challenger")

    async def talk(client, service):
        key = bearer(service.keys.create("alder")[1])
        answers = {}
        for model in ("birch", "nobody", "birch@1", "nobody@1", "birch@challenger", "Alder", "", "alder@7", "alder@no"):
            answer = await client.post("/v1/completions", json={**PROMPT, "model": model}, headers=key)
            answers[model] = (answer.status_code, answer.text)
        models = [await client.get(f"/v1/models/{model}", headers=key) for model in ("birch", "nobody")]
        listed = await client.get("/v1/models", headers=key)
        good = await client.post("/v1/completions", json=PROMPT, headers=key)
        return answers, models, listed.json(), good

    answers, models, listed, good = ask(talk, is_open=False)
    others = [answers[model] for model in ("birch", "nobody", "birch@1", "nobody@1", "birch@challenger", "Alder")]
    assert others[0][0] == 404
    assert len(set(others)) == 1
    assert answers["alder@7"][0] == answers["alder@no"][0] == 404
    assert answers[""][0] == 400
    assert models[0].status_code == 404
    assert models[0].text == models[1].text
    assert [model["id"] for model in listed["data"]] == ["alder"]
    assert good.status_code == 200
    assert all(request.artifact.tenant == "alder" for request in fleet.engine.requests)


def test_feedback_on_another_tenants_answer_is_refused_like_feedback_on_an_unknown_one(ask):
    async def talk(client, service):
        keys = {tenant: bearer(service.keys.create(tenant)[1]) for tenant in ("alder", "birch")}
        name = (await client.post("/v1/completions", json=PROMPT, headers=keys["alder"])).json()["id"]
        return [
            await client.post("/v1/feedback", json={"id": one, "rating": 0}, headers=keys["birch"])
            for one in (name, "cmpl-nothing")
        ]

    theirs, unknown = ask(talk, is_open=False)
    assert (theirs.status_code, theirs.text) == (unknown.status_code, unknown.text)
    assert unknown.status_code == 404


@pytest.mark.parametrize(
    ("header", "got"),
    [
        ({}, "got no key"),
        ({"authorization": "Bearer x"}, "got an unknown"),
        ({"authorization": "Basic eDp5"}, "got an"),
    ],
)
def test_without_a_valid_key_every_endpoint_but_health_is_401(ask, header, got):
    async def talk(client, _service):
        return [
            await client.post("/v1/completions", json=PROMPT, headers=header),
            await client.get("/v1/models", headers=header),
            await client.get("/metrics", headers=header),
            await client.post("/admin/refresh", headers=header),
        ]

    for answer in ask(talk, is_open=False):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert got in answer.json()["error"]["message"]
        assert "alder" not in answer.text


def test_a_server_without_keys_needs_one_from_the_first_key_on(ask):
    async def talk(client, service):
        before = await client.get("/v1/models")
        key = service.keys.create("alder")[0]
        after = await client.get("/v1/models")
        service.keys.revoke(key.id)
        return before, after, await client.get("/v1/models")

    assert [answer.status_code for answer in ask(talk)] == [200, 401, 401]
